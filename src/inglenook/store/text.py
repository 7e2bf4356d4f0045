# SPDX-License-Identifier: Apache-2.0
"""Text that every database and every JSON reader accepts."""

import re

_REFUSED = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """`text` with each NUL and each lone surrogate, which databases and UTF-8 refuse, as U+FFFD."""
    return _REFUSED.sub("\ufffd", text)
