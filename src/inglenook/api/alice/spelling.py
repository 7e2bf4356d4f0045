# SPDX-License-Identifier: Apache-2.0
"""ALICE's documents spell names with underscores, most of its answers in camelCase: both are sent."""

import re
from collections.abc import Mapping
from typing import Any


def camel(name: str) -> str:
    """`size_mb` → `sizeMb`."""
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)


def both(values: Mapping[str, Any]) -> dict[str, Any]:
    """Every value under its name and under the same in camelCase."""
    return {spelt: value for name, value in values.items() for spelt in dict.fromkeys((name, camel(name)))}
