# SPDX-License-Identifier: Apache-2.0
"""A workspace of AI Studio into ours: projects, pictures, splits, experiments to be read; the rest as an
archive. Everything blocks.

An experiment becomes one of ours as far as its documents tell (`experiments`); beside that, it is kept as its
program left it, below `ai-studio` in the project (`ai-studio.json` lists that, and which checkpoints could be
loaded safely). Nothing is unpickled.
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from inglenook.base.errors import InglenookError, Invalid
from inglenook.store.files import write_error
from inglenook.studio.datasets.model import ImageRecord, NewImage, Subset
from inglenook.studio.foreign import experiments
from inglenook.studio.foreign.ai_studio import ForeignDataset, ForeignImage, ForeignProject, Reader
from inglenook.studio.foreign.checkpoints import not_loadable, not_sound
from inglenook.studio.foreign.contents import CONTENTS, Contents, OldCheckpoint, OldExperiment, OldExport
from inglenook.studio.projects.model import Project
from inglenook.studio.studio import Studio
from inglenook.studio.tasks.registry import require_task
from inglenook.studio.training.model import Experiment, lowest_free, titled
from inglenook.wire.studio.spec import TrainSpec

ARCHIVE: Final = "ai-studio"
_DOCUMENTS: Final = ("experiment.json", "metrics.json")
_EVALUATION: Final = ("evaluation.json", "aggregate.json", "results.json")


@dataclass(frozen=True, slots=True)
class Brought:
    """One project that was copied."""

    project: Project
    pictures: int
    splits: tuple[str, ...]
    experiments: tuple[OldExperiment, ...]
    exports: tuple[OldExport, ...]


@dataclass(slots=True)
class Report:
    """`left`: what was not copied and why, a sentence each."""

    projects: list[Brought] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def bring_ai_studio(studio: Studio, folder: Path, *, person: str) -> Report:
    """Copy every project; one that fails does not take the others down.

    Raises:
        NotFound: there is no workspace of AI Studio in `folder`.
    """
    reader = Reader(folder.resolve())
    report = Report(left=reader.left)
    for path, foreign in reader.projects():
        project: Project | None = None
        try:
            project = studio.projects.create(person, foreign.name, foreign.task, foreign.description)
            report.projects.append(_Bringing(studio, reader, path, project).bring(foreign))
        except InglenookError as error:
            reader.left.append(f"The project {foreign.name!r} ({foreign.id}): {error.message}")
            if project is not None:
                studio.projects.delete(person, project.id)
    return report


@dataclass(slots=True)
class _Bringing:
    studio: Studio
    reader: Reader
    path: Path
    project: Project
    has_pictures: bool = False

    def bring(self, foreign: ForeignProject) -> Brought:
        dataset = self.reader.dataset(self.path)
        pictures, splits = (0, ()) if dataset is None else self._dataset(dataset)
        self.has_pictures = pictures > 0
        olds = tuple(self._experiments(foreign.task))
        exports = tuple(self._exports())
        contents = Contents(source=str(self.path), project=foreign.id, experiments=olds, exports=exports)
        if olds or exports:
            workspace = self.studio.workspace
            workspace.write(workspace.project_folder(self.project.id) / CONTENTS, contents)
        return Brought(self.project, pictures, splits, olds, exports)

    # -- pictures ----------------------------------------------------------------------------------------

    def _dataset(self, dataset: ForeignDataset) -> tuple[int, tuple[str, ...]]:
        staging = self.studio.datasets.begin(
            self.project.id,
            "replace",
            by=self.project.owner,
            source_format=dataset.source_format,
            source_path=str(self.path),
        )
        where: dict[str, ForeignImage] = {}
        try:
            for image in self.reader.images(dataset, self.project.name):
                if image.filename not in where and self._stage(staging.folder, staging.add, image):
                    where[image.filename] = image
            if not where:
                return 0, ()
            staging.commit(f"{len(where)} pictures from AI Studio", dataset.classes)
        finally:
            staging.abandon()
        return len(where), tuple(self._splits(dataset, where))

    def _stage(self, folder: Path, add: Any, image: ForeignImage) -> bool:
        source = self.path / "dataset" / "images" / image.filename
        name = f"{self.project.name}: {image.filename}"
        if source.is_symlink() or not source.is_file():
            self.reader.left.append(f"{name}: there is no such file.")
            return False
        size = _size(source)
        if size is None:
            self.reader.left.append(f"{name}: it is no picture that can be read.")
            return False
        target = folder / f"{hashlib.sha256(image.filename.encode()).hexdigest()}.part"
        sha256 = _copied(source, target)
        add(
            NewImage(
                file=target.name,
                original=image.filename,
                width=size[0],
                height=size[1],
                size_bytes=target.stat().st_size,
                sha256=sha256,
                annotations=image.annotations,
            )
        )
        return True

    def _splits(self, dataset: ForeignDataset, where: Mapping[str, ForeignImage]) -> list[str]:
        records: list[ImageRecord] = list(self.studio.datasets.iterate(self.project.id))
        made: list[str] = []
        for place, name in enumerate(dataset.split_names):
            parts: dict[str, Subset] = {}
            for record in records:
                values = where[record.original].split
                value = values[place] if place < len(values) else "none"
                if value in ("train", "val", "test"):
                    parts[record.id] = value  # type: ignore[assignment]  # one of the three words
            try:
                self.studio.splits.adopt(
                    self.project.id,
                    name,
                    parts,
                    by=self.project.owner,
                    warnings=("Imported from AI Studio, which keeps no seed.",),
                )
                made.append(name)
            except InglenookError as error:
                self.reader.left.append(f"{self.project.name}: split {name!r}: {error.message}")
        return made

    # -- the archive -------------------------------------------------------------------------------------

    def _experiments(self, task: str) -> list[OldExperiment]:
        found = []
        for path, fields in self.reader.below(self.path / "experiments", "experiment.json"):
            target = self._archive("experiments", path.name)
            for name in _DOCUMENTS:
                _copy_if_there(path / name, target / name)
            for name in _EVALUATION:
                _copy_if_there(path / "evaluation" / name, target / "evaluation" / name)
            old = self._experiment(path, target, fields)
            found.append(msgspec.structs.replace(old, experiment=self._readable(path, fields, old, task)))
        return found

    def _readable(self, path: Path, fields: Mapping[str, Any], old: OldExperiment, task: str) -> str | None:
        """The id of our experiment that tells of it; None, and a line in `left`: it could not be made."""
        known = require_task(task)
        defaults = known.defaults() if known.available else TrainSpec()
        metrics = self.reader.plain(path / "metrics.json") if (path / "metrics.json").exists() else None
        read = experiments.read(fields, metrics, defaults)
        read.notes += experiments.kept_notes([Path(one.file).name for one in old.checkpoints])
        splits = self.studio.splits.summaries(self.project.id) if self.has_pictures else ()
        split = next((one.id for one in splits if one.name == old.split_name), "")

        def make(new_id: str, names: set[str]) -> Experiment:
            try:
                name = titled(old.name)
            except Invalid:
                name = lowest_free(names)
                read.notes.append(f"Its name, {old.name[:80]!r}, cannot be kept.")
            return experiments.experiment_of(
                fields,
                read,
                new_id=new_id,
                name=name,
                old_id=path.name,
                owner=self.project.owner,
                task=task,
                now=self.studio.documents.now(),
                split_id=split,
            )

        try:
            return self.studio.experiments.keep_imported(self.project.id, make, read.epochs).id
        except InglenookError as error:
            self.reader.left.append(f"{self.project.name}: {path.name}: {error.message}")
            return None

    def _experiment(self, path: Path, target: Path, fields: Mapping[str, Any]) -> OldExperiment:
        checkpoints = []
        sources = [*(path / "checkpoints").glob("*.ckpt"), *(path / "checkpoints").glob("*.safetensors")]
        for source in sorted(sources):
            kept = target / "checkpoints" / source.name
            if not _copy_if_there(source, kept):
                continue
            problem = not_sound(kept) if kept.suffix == ".safetensors" else not_loadable(kept)
            if problem is not None:
                self.reader.left.append(
                    f"{self.project.name}: {path.name}: {source.name} was copied, but will not be loaded:"
                    f" {problem}."
                )
            file = f"experiments/{path.name}/checkpoints/{source.name}"
            checkpoints.append(OldCheckpoint(file=file, size_bytes=kept.stat().st_size, problem=problem))
        metric = fields.get("best_metric")
        return OldExperiment(
            id=path.name,
            name=str(fields.get("name", path.name)),
            status=str(fields.get("status", "unknown")),
            split_name=_text(fields.get("split_name")),
            best_metric=_numbers(metric) if isinstance(metric, dict) else None,
            checkpoints=tuple(checkpoints),
        )

    def _exports(self) -> list[OldExport]:
        found = []
        for path, fields in self.reader.below(self.path / "exports", "export.json"):
            target = self._archive("exports", path.name)
            _copy_if_there(path / "export.json", target / "export.json")
            name = Path(str(fields.get("output_file") or "model.onnx")).name
            kept = _copy_if_there(path / name, target / name)
            if not kept and fields.get("status") == "completed":
                self.reader.left.append(f"{self.project.name}: {path.name}: its {name} is not there.")
            found.append(
                OldExport(
                    id=path.name,
                    experiment_id=_text(fields.get("experiment_id")),
                    format=str(fields.get("format", "unknown")),
                    status=str(fields.get("status", "unknown")),
                    file=f"exports/{path.name}/{name}" if kept else None,
                )
            )
        return found

    def _archive(self, *parts: str) -> Path:
        return self.studio.workspace.project_folder(self.project.id).joinpath(ARCHIVE, *parts)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _numbers(values: Mapping[str, Any]) -> dict[str, float | None]:
    """NaN, which JSON does not know, becomes None."""
    return {
        str(name): float(value) if isinstance(value, int | float) and value == value else None
        for name, value in values.items()
    }


def _size(path: Path) -> tuple[int, int] | None:
    """Width and height by the file's header; None for what is no picture."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None


def _copied(source: Path, target: Path) -> str:
    """Copy, and the SHA-256 of what was copied. Raises Failed, Unavailable."""
    digest = hashlib.sha256()
    try:
        with source.open("rb") as read, target.open("wb") as written:
            while chunk := read.read(1 << 20):
                digest.update(chunk)
                written.write(chunk)
    except OSError as error:
        raise write_error(error, target) from error
    return digest.hexdigest()


def _copy_if_there(source: Path, target: Path) -> bool:
    """Raises Failed, Unavailable."""
    if source.is_symlink() or not source.is_file():
        return False
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        raise write_error(error, target) from error
    return True
