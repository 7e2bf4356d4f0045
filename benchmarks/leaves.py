# SPDX-License-Identifier: Apache-2.0
"""The page of figures as text: a section is written anew where it stands, and the others stay as they are."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

_HEADING: Final = re.compile(r"(#{2,}) (.+)")
LAST: Final = "Models of real size on a GPU"
"""Its section stays at the end of the page."""


def with_sections(page: str, lines: Sequence[str], note: str) -> str:
    """The page with the sections of `lines`, each of which begins with `## `.

    A section replaces the one of its title, at whatever depth that stands; one that the page lacks comes
    before the last.

    Args:
        note: how it was measured; stands below each heading.
    """
    rows = page.split("\n")
    for section in _sections(lines):
        title = section[0].removeprefix("## ")
        depth, start, end = _place(rows, title)
        body = [section[0], "", note, *section[1:]]
        rows[start:end] = [f"{depth * '#'}{row}" if _HEADING.fullmatch(row) else row for row in body]
    return "\n".join(rows)


def _sections(lines: Sequence[str]) -> Iterator[list[str]]:
    starts = [at for at, line in enumerate(lines) if line.startswith("## ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield list(lines[start:end])


def _place(rows: Sequence[str], title: str) -> tuple[int, int, int]:
    """How much deeper than `##` a section stands, its first row, and the row after its last one."""
    headings = [(at, found) for at, row in enumerate(rows) if (found := _HEADING.fullmatch(row))]
    for at, found in headings:
        if found[2] == title:
            after = (other for other, one in headings if other > at and len(one[1]) <= len(found[1]))
            return len(found[1]) - 2, at, next(after, len(rows))
    last = next((at for at, found in headings if found[2] == LAST), len(rows))
    return 0, last, last
