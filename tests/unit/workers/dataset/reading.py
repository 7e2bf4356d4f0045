# SPDX-License-Identifier: Apache-2.0
"""Reads a source in this process, with everything that it says."""

from dataclasses import dataclass, field
from pathlib import Path

from inglenook.testing.clock import FakeClock
from inglenook.wire.studio.dataset import (
    Bounds,
    DatasetFound,
    DatasetRead,
    FolderSource,
    Issues,
    Picture,
    Pictures,
    Problem,
    ReadDataset,
)
from inglenook.workers.dataset.reading import Reading

BOUNDS = Bounds(images=10_000, files=30_000, pixels=1_000_000, file_bytes=2**24, unpacked_bytes=2**28)


@dataclass
class Heard:
    last: DatasetRead | None = None
    found: DatasetFound | None = None
    pictures: list[Picture] = field(default_factory=list)
    issues: list[Problem] = field(default_factory=list)
    messages: int = 0

    def say(self, message):
        self.messages += 1
        if isinstance(message, DatasetFound):
            self.found = message
        elif isinstance(message, Pictures):
            self.pictures += message.pictures
        elif isinstance(message, Issues):
            self.issues += message.issues

    @property
    def reasons(self):
        return {issue.path: issue.reason for issue in self.issues}

    @property
    def labels(self):
        return {picture.original: picture.label for picture in self.pictures}


def read(source, into: Path, *, should_stop=lambda: False, **more) -> Heard:
    """`source`: a folder, or a source of the wire. `more`: fields of `ReadDataset`."""
    if isinstance(source, Path):
        source = FolderSource(path=str(source), roots=(str(source),))
    into.mkdir(exist_ok=True)
    spool = into.parent / "spool"
    spool.mkdir(exist_ok=True)
    work = ReadDataset(
        **{"job": "j", "task": "classification", "source": source, "folder": str(into), "bounds": BOUNDS}
        | more
    )
    heard = Heard()
    reading = Reading(work, spool=spool, send=heard.say, should_stop=should_stop, clock=FakeClock())
    heard.last = reading.run()
    return heard


def put(root: Path, files) -> Path:
    """Write files (contents by path) below `root`."""
    for path, data in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return root
