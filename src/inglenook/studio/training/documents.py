# SPDX-License-Identifier: Apache-2.0
"""Experiments on the disk: their documents, their records of epochs, their log. Everything here blocks.

Whoever reads, decides and writes does it inside `change`, which holds the project's lock.
"""

import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from inglenook.base.clock import Clock
from inglenook.base.errors import InglenookError, NotFound
from inglenook.store.files import atomic_file, sync_folder, write_atomic, write_error
from inglenook.studio.documents import stamp
from inglenook.studio.training.errors import ExperimentNotFound
from inglenook.studio.training.model import EpochRecord, Experiment, ExperimentIndex, Kept, summary_of
from inglenook.studio.workspace import Workspace
from inglenook.wire.studio.spec import Example

DOCUMENT: Final = "experiment.json"
INDEX: Final = "experiments_index.json"
METRICS: Final = "metrics.jsonl"
MANIFEST: Final = "manifest.jsonl"
LOG: Final = "log.txt"
SAMPLES: Final = "samples.json"
CHECKPOINTS: Final = "checkpoints"
LAST: Final = "checkpoints/last.ckpt"
OUTPUTS: Final = (
    METRICS,
    MANIFEST,
    LOG,
    SAMPLES,
    CHECKPOINTS,
    "evaluations",
    "tensorboard",
    "mlruns",
    "lightning_logs",
)
"""What a run makes: gone after a restart."""

_ID = re.compile(r"exp-[0-9a-f]{8}")
_LINE = msgspec.json.Decoder(EpochRecord)
_EXAMPLE = msgspec.json.Decoder(Example)
Change = Callable[[Experiment], Experiment]


class ExperimentDocuments:
    def __init__(self, *, workspace: Workspace, clock: Clock) -> None:
        self.workspace = workspace
        self._clock = clock
        self._clearing: list[Callable[[str, str], None]] = []

    def before_clearing(self, listener: Callable[[str, str], None]) -> None:
        """From now on, `listener` is told of a project and an experiment before all that came of it goes."""
        self._clearing.append(listener)

    def now(self) -> str:
        return stamp(self._clock.now())

    # -- where ---------------------------------------------------------------------------------------------

    def home(self, project_id: str) -> Path:
        """The folder of the project's experiments. Raises ProjectNotFound."""
        return self.workspace.project_folder(project_id) / "experiments"

    def folder(self, project_id: str, experiment_id: str) -> Path:
        """Raises ProjectNotFound, ExperimentNotFound."""
        folder = self.home(project_id) / experiment_id
        if not _ID.fullmatch(experiment_id) or not folder.is_dir():
            raise ExperimentNotFound(f"There is no experiment {experiment_id[:60]!r}.")
        return folder

    # -- documents -----------------------------------------------------------------------------------------

    def read(self, project_id: str, experiment_id: str) -> Experiment:
        """Raises ProjectNotFound, ExperimentNotFound, CorruptDocument; Conflict: a newer program wrote it."""
        folder = self.folder(project_id, experiment_id)
        try:
            return self.workspace.read(folder / DOCUMENT, Experiment)
        except NotFound:
            raise ExperimentNotFound(f"There is no experiment {experiment_id!r}.") from None

    def index(self, project_id: str) -> ExperimentIndex:
        """What a list shows. Raises ProjectNotFound, CorruptDocument."""
        try:
            return self.workspace.read(self.home(project_id) / INDEX, ExperimentIndex)
        except NotFound:
            self.workspace.project_folder(project_id)
            return ExperimentIndex()

    def change(self, project_id: str, experiment_id: str, change: Change) -> Experiment:
        """Read, change, write: nobody comes between. What `change` raises leaves everything as it was."""
        with self.workspace.locked(project_id):
            before = self.read(project_id, experiment_id)
            after = change(before)
            if after != before:
                self.workspace.write(self.folder(project_id, experiment_id) / DOCUMENT, after)
                self._list(project_id, after)
            return after

    def add(self, project_id: str, make: Callable[[str, set[str]], Experiment]) -> Experiment:
        """Keep a new one.

        Args:
            make: gets a new id and the names that are taken.
        """
        with self.workspace.locked(project_id):
            home = self.home(project_id)
            names = {one.name for one in self.index(project_id).experiments}
            experiment = make(f"exp-{secrets.token_hex(4)}", names)
            unfinished = home / f".new-{experiment.id}"
            try:
                (unfinished / CHECKPOINTS).mkdir(mode=0o700, parents=True)
                self.workspace.write(unfinished / DOCUMENT, experiment)
                unfinished.rename(home / experiment.id)
                sync_folder(home)
            except OSError as error:
                raise write_error(error, home) from error
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
            self._list(project_id, experiment)
            return experiment

    def remove(self, project_id: str, experiment_id: str, allowed: Callable[[Experiment], None]) -> None:
        """Delete it with everything below it, unless `allowed` raises."""
        with self.workspace.locked(project_id):
            folder = self.folder(project_id, experiment_id)
            allowed(self.read(project_id, experiment_id))
            for listener in self._clearing:
                listener(project_id, experiment_id)
            gone = folder.with_name(f".gone-{experiment_id}")
            folder.rename(gone)
            kept = tuple(one for one in self.index(project_id).experiments if one.id != experiment_id)
            self._write_index(project_id, ExperimentIndex(experiments=kept))
        shutil.rmtree(gone, ignore_errors=True)  # what stays is cleared when the workspace is opened

    def repair(self, project_id: str) -> Sequence[Experiment]:
        """All experiments of a project as their documents have them, the list put right by them.

        One that cannot be read stays as it is and is not in the list.
        """
        with self.workspace.locked(project_id):
            home = self.home(project_id)
            found = []
            for folder in sorted(home.iterdir()) if home.is_dir() else ():
                if _ID.fullmatch(folder.name):
                    with suppress(InglenookError):
                        found.append(self.read(project_id, folder.name))
            found.sort(key=lambda one: (one.created_at, one.id))
            index = ExperimentIndex(experiments=tuple(summary_of(one) for one in found))
            if home.is_dir() and index != self._readable_index(project_id):
                self._write_index(project_id, index)
            return found

    def _readable_index(self, project_id: str) -> ExperimentIndex | None:
        with suppress(InglenookError):
            return self.index(project_id)
        return None

    def _list(self, project_id: str, experiment: Experiment) -> None:
        line = summary_of(experiment)
        others = self.index(project_id).experiments
        if any(one.id == line.id for one in others):
            lines = tuple(line if one.id == line.id else one for one in others)
        else:
            lines = (*others, line)
        if lines != others:
            self._write_index(project_id, ExperimentIndex(experiments=lines))

    def _write_index(self, project_id: str, index: ExperimentIndex) -> None:
        self.workspace.write(self.home(project_id) / INDEX, index)

    # -- what a run makes ----------------------------------------------------------------------------------

    def clear(self, project_id: str, experiment_id: str) -> None:
        """Remove everything that a run has made."""
        folder = self.folder(project_id, experiment_id)
        for listener in self._clearing:
            listener(project_id, experiment_id)
        for name in OUTPUTS:
            found = folder / name
            if found.is_dir():
                shutil.rmtree(found, ignore_errors=True)
            else:
                found.unlink(missing_ok=True)
        (folder / CHECKPOINTS).mkdir(mode=0o700, exist_ok=True)

    def epochs(self, project_id: str, experiment_id: str) -> list[EpochRecord]:
        """Those that are done, the first one first. A line that was being written when the server was killed
        does not count."""
        path = self.folder(project_id, experiment_id) / METRICS
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        records = []
        for line in lines[:-1]:
            with suppress(msgspec.DecodeError):
                records.append(_LINE.decode(line))
        return records

    def add_epoch(self, project_id: str, experiment_id: str, record: EpochRecord) -> None:
        """Raises Failed, Unavailable: it cannot be written."""
        path = self.folder(project_id, experiment_id) / METRICS
        kept = [one for one in self.epochs(project_id, experiment_id) if one.epoch < record.epoch]
        write_lines(path, [*kept, record])

    def keep_epochs(self, project_id: str, experiment_id: str, records: Sequence[EpochRecord]) -> None:
        """These and no others. Raises Failed, Unavailable."""
        write_lines(self.folder(project_id, experiment_id) / METRICS, records)

    def drop_epochs(self, project_id: str, experiment_id: str, first: int) -> None:
        """Forget the epochs from `first` on: they are trained again."""
        found = self.epochs(project_id, experiment_id)
        kept = [one for one in found if one.epoch < first]
        if kept != found:
            write_lines(self.folder(project_id, experiment_id) / METRICS, kept)

    def with_last(self, project_id: str, experiment: Experiment) -> Experiment:
        """With the last checkpoint that lies in its folder, where the document has lost it: a full disk, or a
        server that died, came between the file and its line. Where it goes on the worker reads in the file;
        until then the epochs that are written down count.
        """
        path = self.folder(project_id, experiment.id) / LAST
        if "last" in experiment.checkpoints or not path.is_file():
            return experiment
        found = path.stat()
        kept = Kept(
            file=LAST,
            epoch=experiment.epoch,
            batch=0,
            size_bytes=found.st_size,
            written_at=stamp(datetime.fromtimestamp(found.st_mtime, UTC)),
        )
        return msgspec.structs.replace(experiment, checkpoints={**experiment.checkpoints, "last": kept})

    def manifest_files(self, project_id: str, experiment_id: str) -> set[str]:
        """Names of the files that its manifest names."""
        try:
            with (self.folder(project_id, experiment_id) / MANIFEST).open("rb") as lines:
                return {Path(_EXAMPLE.decode(line).file).name for line in lines}
        except FileNotFoundError:
            return set()

    def note(self, project_id: str, experiment_id: str, text: str) -> None:
        """A line of the log: the time, then the text without line ends."""
        path = self.folder(project_id, experiment_id) / LOG
        try:
            with path.open("a", encoding="utf-8") as log:
                log.write(f"{self.now()} {' '.join(text.split())}\n")
        except OSError as error:
            raise write_error(error, path) from error

    def log(self, project_id: str, experiment_id: str) -> list[tuple[str, str]]:
        """The lines of the log: time and text."""
        path = self.folder(project_id, experiment_id) / LOG
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]

    def keep_samples(self, project_id: str, experiment_id: str, samples: Any) -> None:
        path = self.folder(project_id, experiment_id) / SAMPLES
        write_atomic(path, msgspec.json.encode(samples))

    def samples(self, project_id: str, experiment_id: str) -> Any:
        """The newest, as JSON; None before there are any."""
        try:
            return json.loads((self.folder(project_id, experiment_id) / SAMPLES).read_bytes())
        except (FileNotFoundError, ValueError):
            return None


def write_lines(path: Path, structs: Iterable[msgspec.Struct]) -> None:
    """One JSON object a line; all of them or none. Raises Failed, Unavailable."""
    with atomic_file(path) as file:
        for struct in structs:
            file.write(msgspec.json.encode(struct) + b"\n")
