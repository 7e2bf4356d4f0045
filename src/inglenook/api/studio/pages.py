# SPDX-License-Identifier: Apache-2.0
"""Lists, a page at a time, and the ids that pages begin at."""

import re
from collections.abc import Sequence
from typing import Any

MAX_PAGE = 200

_ID = re.compile(r"[a-z]+_[0-9a-hjkmnp-tv-z]{26}")


def is_id(prefix: str, text: str) -> bool:
    """Whether `text` may have been made by `base.ids.new_id`. What may not is never looked up."""
    return _ID.fullmatch(text) is not None and text.startswith(f"{prefix}_")


def page(found: Sequence[dict[str, Any]], limit: int) -> dict[str, Any]:
    """The answer for a page. `found` holds one more than `limit` where there are more."""
    shown = list(found[:limit])
    return {
        "object": "list",
        "data": shown,
        "has_more": len(found) > limit,
        "last_id": shown[-1]["id"] if shown else None,
    }
