# SPDX-License-Identifier: Apache-2.0
"""What an import has left out and why: counted, the first ones kept for the job, all of them in a file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from inglenook.store.files import write_error
from inglenook.studio.imports.model import KEPT_REPORTS, SHOWN_SKIPPED, Reason
from inglenook.wire.studio.dataset import Problem

_ENCODE = msgspec.json.Encoder().encode


class Account:
    """Blocks. `path`: of the report, JSON lines; made with the first entry."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self.skipped = 0
        self.remarks = 0
        self._reasons: dict[tuple[bool, str], Reason] = {}
        self._first: list[Problem] = []

    def add(self, problems: Iterable[Problem]) -> None:
        """Raises Failed, Unavailable: the report cannot be written."""
        try:
            file = self._opened()
            for problem in problems:
                file.write(_ENCODE(problem) + b"\n")
                self._count(problem)
        except OSError as error:
            raise write_error(error, self._path) from error

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = self._path.open("wb")
        return self._file

    def _count(self, problem: Problem) -> None:
        if problem.skipped:
            self.skipped += 1
            if len(self._first) < SHOWN_SKIPPED:
                self._first.append(problem)
        else:
            self.remarks += 1
        key = (problem.skipped, problem.reason)
        before = self._reasons.get(key)
        example = f"{problem.path}: {problem.message}" if before is None else before.example
        self._reasons[key] = Reason(count=1 if before is None else before.count + 1, example=example)

    def count(self, reason: str) -> int:
        found = self._reasons.get((True, reason))
        return 0 if found is None else found.count

    def close(self) -> None:
        """Idempotent. Older reports than the last few are deleted."""
        if self._file is None:
            return
        self._file.close()
        reports = sorted(self._path.parent.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
        for path in reports[:-KEPT_REPORTS]:
            path.unlink(missing_ok=True)

    def as_json(self) -> dict[str, Any]:
        """For the job's result: counts by reason, the most frequent first, and the first skipped files."""
        said = sorted(self._reasons.items(), key=lambda item: -item[1].count)
        return {
            "skipped": self.skipped,
            "remarks": self.remarks,
            "by_reason": {reason: msgspec.to_builtins(told) for (left, reason), told in said if left},
            "remarks_by_reason": {
                reason: msgspec.to_builtins(told) for (left, reason), told in said if not left
            },
            "first_skipped": msgspec.to_builtins(self._first),
            "has_report": self._file is not None,
        }

    def in_words(self) -> str:
        """The most frequent reason, for an error's message."""
        left = [told for (skipped, _), told in self._reasons.items() if skipped]
        if not left:
            return ""
        most = max(left, key=lambda told: told.count)
        return f" {self.skipped} files were left out; {most.count} of them as this one: {most.example}."
