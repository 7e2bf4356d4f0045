# SPDX-License-Identifier: Apache-2.0
"""One `CheckDataset`: read what is known (where asked, every file again), compare, write the findings."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from inglenook.vision.checks.alike import Signatures
from inglenook.vision.checks.findings import Known, Rules, all_findings
from inglenook.vision.checks.model import Item
from inglenook.vision.pictures import SIGNATURE_SIDE_PX
from inglenook.wire.studio.dataset import CheckDataset, Checked, DatasetChecked, Progress
from inglenook.workers.dataset.errors import BadFile, Stopped
from inglenook.workers.dataset.pictures import look, looked_at
from inglenook.workers.dataset.taking import Send

_LINE = msgspec.json.Decoder(Checked)
EVERY: Final = 500


class Checking:
    """`should_stop` is looked at between two pictures, and between two comparisons."""

    def __init__(self, work: CheckDataset, *, send: Send, should_stop: Callable[[], bool]) -> None:
        self._work = work
        self._send = send
        self._should_stop = should_stop

    def run(self) -> DatasetChecked:
        """Raises Stopped, OSError."""
        work = self._work
        known, damaged, files = Known(), [], []
        for number, line in enumerate(self._lines()):
            if number % EVERY == 0:
                self._look()
                self._send(Progress(job=work.job, stage="files", done=number, total=0))
            dhash = line.dhash
            if work.read_files:
                self._look()
                item, dhash = self._read(line)
                damaged += [] if item is None else [item]
            files.append(line.file)
            known.ids.append(line.id)
            known.sha256.append(line.sha256)
            known.dhashes.append(dhash)
            known.sides.append((line.width, line.height))
            known.labels.append(line.label)
        self._send(Progress(job=work.job, stage="compare", done=len(known), total=len(known)))
        rules = Rules(work.distance, work.tiny_px, work.aspect, work.imbalance)
        found = all_findings(
            known,
            work.classes,
            rules,
            damaged=damaged,
            files_read=work.read_files,
            look=self._look,
            signatures=lambda places: self._signatures([(known.ids[at], files[at]) for at in places]),
        )
        Path(work.into).write_bytes(msgspec.json.encode(found))
        return DatasetChecked(job=work.job, pictures=len(known), findings=len(found.findings))

    def _signatures(self, some: Sequence[tuple[str, str]]) -> Signatures:
        """Shape (n, 256); zero where a picture cannot be opened."""
        found = np.zeros((len(some), SIGNATURE_SIDE_PX**2), np.float32)
        for row, (id_, file) in enumerate(some):
            self._look()
            small = Path(self._work.thumbnails) / f"{id_}.webp"
            path = small if small.is_file() else Path(self._work.images) / file
            with contextlib.suppress(BadFile):
                found[row] = looked_at(path, pixels=self._work.pixels)
        return found

    def _lines(self) -> Iterator[Checked]:
        with Path(self._work.manifest).open("rb") as file:
            for line in file:
                yield _LINE.decode(line)

    def _look(self) -> None:
        if self._should_stop():
            raise Stopped

    def _read(self, line: Checked) -> tuple[Item | None, str | None]:
        """What is wrong with the file, and its perceptual hash."""
        path = Path(self._work.images) / line.file
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            seen = look(path, pixels=self._work.pixels, thumbnail=None, thumbnail_px=0)
        except FileNotFoundError:
            return Item(ids=(line.id,), why="the file is gone"), line.dhash
        except OSError as error:
            return Item(ids=(line.id,), why=f"the file cannot be read: {error.strerror}"), line.dhash
        except BadFile as error:
            return Item(ids=(line.id,), why=error.message), line.dhash
        if line.sha256 and digest != line.sha256:
            return Item(ids=(line.id,), why="the file has changed since it was imported"), seen.dhash
        return None, seen.dhash
