# SPDX-License-Identifier: Apache-2.0
"""Evaluations on the disk, below their experiment. Everything here blocks. Whoever reads, decides and writes
does it inside `change`, which holds the project's lock.

    evaluations/eval-…/evaluation.json    what was asked, what became of it
                       manifest.jsonl     the pictures, with what they are
                       logits.npy         what the network says of each
                       aggregate.json     all figures
                       saliency/          pictures that were asked for; may be deleted at any time
"""

import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from inglenook.base.errors import InglenookError, NotFound
from inglenook.store.files import sync_folder, write_error
from inglenook.studio.evaluation.errors import EvaluationNotFound, NotReady
from inglenook.studio.evaluation.model import Aggregate, EvaluationRecord, Progress
from inglenook.studio.training.documents import ExperimentDocuments

FOLDER: Final = "evaluations"
DOCUMENT: Final = "evaluation.json"
AGGREGATE: Final = "aggregate.json"
MANIFEST: Final = "manifest.jsonl"
SALIENCY: Final = "saliency"
_ID = re.compile(r"eval-[0-9a-f]{8}")
Change = Callable[[EvaluationRecord], EvaluationRecord]
Key = tuple[str, str, str]
"""Of a project, an experiment, an evaluation."""


class EvaluationDocuments:
    """Attributes:
    progress: of those that run, by their id; only here, because it is worth nothing after a restart.
    """

    def __init__(self, *, experiments: ExperimentDocuments) -> None:
        self.experiments = experiments
        self.workspace = experiments.workspace
        self.progress: dict[str, Progress] = {}

    def now(self) -> str:
        return self.experiments.now()

    def home(self, project: str, experiment: str) -> Path:
        """Raises ProjectNotFound, ExperimentNotFound."""
        return self.experiments.folder(project, experiment) / FOLDER

    def folder(self, key: Key) -> Path:
        """Raises EvaluationNotFound; as `home`."""
        folder = self.home(key[0], key[1]) / key[2]
        if not _ID.fullmatch(key[2]) or not folder.is_dir():
            raise EvaluationNotFound(f"There is no evaluation {key[2][:60]!r}.")
        return folder

    def read(self, key: Key) -> EvaluationRecord:
        """Raises EvaluationNotFound, CorruptDocument; Conflict: a newer program wrote it; as `home`."""
        folder = self.folder(key)
        try:
            return self.workspace.read(folder / DOCUMENT, EvaluationRecord)
        except NotFound:
            raise EvaluationNotFound(f"There is no evaluation {key[2]!r}.") from None

    def all(self, project: str, experiment: str) -> Sequence[EvaluationRecord]:
        """The oldest first. One that cannot be read is left out."""
        home = self.home(project, experiment)
        found = []
        for folder in home.iterdir() if home.is_dir() else ():
            if _ID.fullmatch(folder.name):
                with suppress(InglenookError):
                    found.append(self.read((project, experiment, folder.name)))
        return sorted(found, key=lambda one: (one.created_at, one.id))

    def aggregate(self, key: Key) -> Aggregate | None:
        """None while there are no figures. Raises CorruptDocument, EvaluationNotFound."""
        folder = self.folder(key)
        try:
            return self.workspace.read(folder / AGGREGATE, Aggregate)
        except NotFound:
            return None

    def require_completed(self, key: Key) -> EvaluationRecord:
        """Raises NotReady; as `read`."""
        record = self.read(key)
        if record.status != "completed":
            raise NotReady(
                f"The evaluation {record.id} is {record.status}: it has no results.", hint=record.error
            )
        return record

    # -- changing ------------------------------------------------------------------------------------------

    def add(
        self, project: str, experiment: str, make: Callable[[str, Path], EvaluationRecord]
    ) -> EvaluationRecord:
        """Keep a new one. `make` gets its id and its folder, and writes the manifest into it; what it raises
        leaves nothing behind."""
        with self.workspace.locked(project):
            home = self.home(project, experiment)
            new_id = f"eval-{secrets.token_hex(4)}"
            unfinished = home / f".new-{new_id}"
            try:
                unfinished.mkdir(mode=0o700, parents=True)
                record = make(new_id, unfinished)
                self.workspace.write(unfinished / DOCUMENT, record)
                unfinished.rename(home / new_id)
                sync_folder(home)
            except OSError as error:
                raise write_error(error, home) from error
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
            return record

    def change(self, key: Key, change: Change) -> EvaluationRecord:
        """Read, change, write: nobody comes between. What `change` raises leaves everything as it was."""
        with self.workspace.locked(key[0]):
            before = self.read(key)
            after = change(before)
            if after != before:
                self.workspace.write(self.folder(key) / DOCUMENT, after)
            return after

    def remove(self, key: Key) -> None:
        """With all its files. Idempotent."""
        with self.workspace.locked(key[0]):
            try:
                folder = self.folder(key)
            except EvaluationNotFound:
                return
            gone = folder.with_name(f".gone-{key[2]}-{secrets.token_hex(4)}")
            try:
                folder.rename(gone)
                sync_folder(folder.parent)
            except OSError as error:
                raise write_error(error, folder) from error
        shutil.rmtree(gone, ignore_errors=True)  # what stays is cleared by `tidy`

    def tidy(self, project: str, experiment: str) -> None:
        """Delete what a server that was killed has left half made or half deleted."""
        home = self.home(project, experiment)
        for pattern in (".new-*", ".gone-*"):
            for path in home.glob(pattern) if home.is_dir() else ():
                shutil.rmtree(path, ignore_errors=True)
