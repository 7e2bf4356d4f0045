# SPDX-License-Identifier: Apache-2.0
"""What the terminal shows: tables and JSON on standard output, messages and progress on standard error.

Everything can be read without colour; a hint has a line of its own.
"""

import json
import math
import shutil
from collections.abc import Sequence
from typing import Any, Self, TextIO

import click

from inglenook.base.errors import InglenookError
from inglenook.base.units import format_seconds

_BAR_CHARS = 24


def show_error(error: InglenookError) -> None:
    """``error: …`` and ``hint: …``; a broken configuration shows each of its problems so."""
    problems = getattr(error, "problems", None)
    if problems is None:
        problems = [error]
    for problem in problems:
        text = problem.message if isinstance(problem, InglenookError) else str(problem)
        say(f"error: {text}")
        if problem.hint is not None:
            say(f"hint: {problem.hint}")


def say(text: str) -> None:
    """To standard error, so that standard output holds nothing but data."""
    click.echo(printable(text), err=True)


def put(text: str) -> None:
    """To standard output."""
    click.echo(printable(text))


def put_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def printable(text: str) -> str:
    """Without control characters: a prompt or a file's name must not steer the terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)


def table(rows: Sequence[Sequence[str]], *, header: Sequence[str] | None = None) -> str:
    """Columns as wide as their widest cell, two spaces between, nothing at the end of a line."""
    lines = [list(header)] if header is not None else []
    lines += [[printable(cell).replace("\n", " ") for cell in row] for row in rows]
    if not lines:
        return ""
    widths = [max(len(row[column]) for row in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in lines
    )


def bar_line(fraction: float, label: str, *, estimate_s: float | None, columns: int) -> str:
    """``[######------]  50 %  step 4 of 8  about 3 s left``, cut to fit `columns`.

    Args:
        fraction: in [0, 1]; 1 only when all is done, so that 100 % is never shown too early.
    """
    fraction = min(max(fraction, 0.0), 1.0) if math.isfinite(fraction) else 0.0
    full = int(fraction * _BAR_CHARS)
    parts = [f"[{'#' * full}{'-' * (_BAR_CHARS - full)}]", f"{int(fraction * 100):3d} %", label]
    if estimate_s is not None and fraction < 1:
        parts.append(f"about {format_seconds(estimate_s)} left")
    return "  ".join(part for part in parts if part)[: max(columns - 1, 1)]


class Progress:
    """A bar that redraws itself on a terminal, and a line for each new message where there is none.

    Use as a context manager: the line is ended however the work ends.
    """

    def __init__(self, stream: TextIO, *, columns: int | None = None) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._columns = shutil.get_terminal_size().columns if columns is None else columns
        self._drawn = ""
        self._said = ""
        self._topic: object = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            self._write("\n")
            self._drawn = ""

    def update(self, fraction: float, label: str, *, estimate_s: float | None = None) -> None:
        """Redraw the bar. Without a terminal nothing is written: see `message`."""
        if not self._is_terminal:
            return
        self._draw(bar_line(fraction, printable(label), estimate_s=estimate_s, columns=self._columns))

    def status(self, topic: object, text: str) -> None:
        """A line in place of the bar, drawn over as it changes; in a file one for each new topic."""
        if self._is_terminal:
            self._draw(printable(text)[: max(self._columns - 1, 1)])
        elif topic != self._topic:
            self.message(text)
        self._topic = topic

    def _draw(self, line: str) -> None:
        if line != self._drawn:
            self._write("\r" + line.ljust(len(self._drawn)))
            self._drawn = line

    def message(self, text: str) -> None:
        """A line that stays, above the bar. The same text is not said twice in a row."""
        if text == self._said:
            return
        self._said = text
        clear = "\r" + " " * len(self._drawn) + "\r" if self._drawn else ""
        self._write(f"{clear}{printable(text)}\n")
        self._drawn = ""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
