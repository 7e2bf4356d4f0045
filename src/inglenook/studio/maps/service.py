# SPDX-License-Identifier: Apache-2.0
"""The map of a project's data set: ordered, written, read. Everything here blocks."""

import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from inglenook.base.errors import InglenookError, Invalid, NotFound
from inglenook.store.files import atomic_file, write_error
from inglenook.studio.datasets.service import DatasetsService
from inglenook.studio.documents import read_document, write_document
from inglenook.studio.errors import CorruptDocument
from inglenook.studio.evaluation.errors import CheckpointNotFound
from inglenook.studio.evaluation.pictures import read_manifest
from inglenook.studio.evaluation.service import checkpoint_names
from inglenook.studio.maps.model import MapDocument, MapOrder, MapRequest, Point
from inglenook.studio.projects.service import ProjectsService
from inglenook.studio.training.documents import CHECKPOINTS, ExperimentDocuments
from inglenook.vision.annotations import primary_class
from inglenook.wire.studio.backbones import find_backbone
from inglenook.wire.studio.evaluation import PLACES
from inglenook.wire.studio.spec import Example

FOLDER: Final = "map"
DOCUMENT: Final = "map.json"
MANIFEST: Final = "manifest.jsonl"
USUAL_BACKBONE: Final = "efficientnet_lite0"
"""Where nothing was trained yet: its weights come in a package."""


@dataclass(slots=True)
class MapsService:
    projects: ProjectsService
    datasets: DatasetsService
    experiments: ExperimentDocuments

    def order(self, person: str, project: str, asked: MapRequest) -> MapOrder:
        """Settle who looks.

        Raises:
            ProjectNotFound, DatasetNotImported, ExperimentNotFound, CheckpointNotFound.
            Invalid: there is no such backbone.
        """
        self.projects.require(person, project, write=True)
        self.datasets.head(project)
        chosen = asked
        if asked.experiment_id is None and not asked.backbone:
            found = self._newest(project)
            changes = {"backbone": USUAL_BACKBONE} if found is None else {"experiment_id": found}
            chosen = msgspec.structs.replace(asked, **changes)
        if chosen.experiment_id is not None:
            chosen = msgspec.structs.replace(
                chosen, checkpoint=self._checkpoint(project, chosen), backbone=""
            )
        elif find_backbone(chosen.backbone) is None:
            raise Invalid(
                f"There is no backbone {chosen.backbone!r}.", field="backbone", code="map.no_backbone"
            )
        return MapOrder(project=project, person=person, request=chosen)

    def _newest(self, project: str) -> str | None:
        for line in reversed(self.experiments.index(project).experiments):
            if checkpoint_names(self.experiments.folder(project, line.id)):
                return line.id
        return None

    def _checkpoint(self, project: str, asked: MapRequest) -> str:
        experiment = self.experiments.read(project, str(asked.experiment_id))
        there = checkpoint_names(self.experiments.folder(project, experiment.id))
        wanted = asked.checkpoint or next((one for one in ("best", "last") if one in there), "best")
        if wanted not in there:
            raise CheckpointNotFound(
                f"{experiment.name} has no checkpoint {wanted}.ckpt.",
                field="checkpoint",
                hint=f"it has {', '.join(there) or 'none'}",
            )
        return wanted

    def checkpoint_path(self, order: MapOrder) -> Path | None:
        asked = order.request
        if asked.experiment_id is None:
            return None
        folder = self.experiments.folder(order.project, asked.experiment_id)
        return folder / CHECKPOINTS / f"{asked.checkpoint}.ckpt"

    # -- writing -------------------------------------------------------------------------------------------

    def begin(self, order: MapOrder) -> tuple[Path, int, int]:
        """A private folder with the manifest of what is laid out; the version and how many pictures it has.

        Raises Invalid: there are fewer than two pictures. Failed, Unavailable: it cannot be written.
        """
        project = order.project
        head = self.datasets.head(project)
        whole, most = head.image_stats.num_images, order.request.limit
        if whole < 2:
            raise Invalid("A map needs two pictures at least.", code="map.no_data")
        folder = self.datasets.book.folder(project) / f".new-map-{secrets.token_hex(4)}"
        step = max(1.0, whole / most)
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise write_error(error, folder) from error
        with atomic_file(folder / MANIFEST) as out:
            due = 0.0
            for number, record in enumerate(self.datasets.iterate(project, head.current)):
                if number < round(due):
                    continue
                due += step
                file = str(self.datasets.file(project, record))
                out.write(
                    msgspec.json.encode(Example(id=record.id, file=file, subset="test", target=None)) + b"\n"
                )
        return folder, head.current, whole

    def finish(self, project: str, folder: Path, document: MapDocument) -> None:
        """Put it into the place of the one before. Raises Failed, Unavailable."""
        write_document(folder / DOCUMENT, document)
        with self.datasets.book.workspace.locked(project):
            target = self.datasets.book.folder(project) / FOLDER
            gone = target.with_name(f".gone-map-{secrets.token_hex(4)}")
            try:
                if target.exists():
                    target.rename(gone)
                folder.rename(target)
            except OSError as error:
                raise write_error(error, target) from error
        shutil.rmtree(gone, ignore_errors=True)

    # -- reading -------------------------------------------------------------------------------------------

    def get(self, person: str, project: str) -> tuple[MapDocument | None, bool, Sequence[Point]]:
        """The map, whether the data set has changed since, and its points of pictures that are still there.

        Raises ProjectNotFound, DatasetNotImported, CorruptDocument.
        """
        self.projects.require(person, project, write=False)
        head = self.datasets.head(project)
        folder = self.datasets.book.folder(project) / FOLDER
        try:
            document = read_document(folder / DOCUMENT, MapDocument)
        except NotFound:
            return None, False, ()
        return document, document.dataset_version != head.current, self._points(project, folder)

    def _points(self, project: str, folder: Path) -> list[Point]:
        import numpy as np

        try:
            ids = [one.id for one in read_manifest(folder / MANIFEST)]
            places = np.load(folder / PLACES, allow_pickle=False)
        except (OSError, ValueError, EOFError, msgspec.MsgspecError) as error:
            raise CorruptDocument(
                f"The map cannot be read: {str(error)[:200]}", hint="make it anew"
            ) from error
        if places.shape != (len(ids), 2):
            raise CorruptDocument(
                "The map's places and pictures do not belong together.", hint="make it anew"
            )
        records = self.datasets.some(project, ids)
        seen = np.isfinite(places).all(axis=1)
        return [
            Point(
                id=name,
                x=float(place[0]),
                y=float(place[1]),
                class_name=primary_class(records[name].annotations),
                filename=records[name].filename,
            )
            for name, place, known in zip(ids, places, seen, strict=True)
            if known and name in records
        ]

    def experiment_name(self, order: MapOrder) -> str | None:
        if order.request.experiment_id is None:
            return None
        try:
            return self.experiments.read(order.project, order.request.experiment_id).name
        except InglenookError:
            return None
