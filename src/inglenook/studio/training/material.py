# SPDX-License-Identifier: Apache-2.0
"""What an experiment learns from: a split of the project's pictures. Everything here blocks."""

from pathlib import Path

from inglenook.studio.datasets.service import DatasetsService
from inglenook.studio.errors import SplitNotFound
from inglenook.studio.splits.model import SplitSummary
from inglenook.studio.splits.service import SplitsService
from inglenook.studio.tasks.registry import require_available
from inglenook.studio.training.errors import NotTrainable, one_class
from inglenook.studio.training.manifest import write_manifest
from inglenook.studio.training.model import Data, Experiment


class Material:
    def __init__(self, *, datasets: DatasetsService, splits: SplitsService) -> None:
        self._datasets = datasets
        self._splits = splits

    def split(self, project_id: str, name: str | None) -> SplitSummary:
        """The split by its name or id; the first one for None.

        Raises:
            DatasetNotImported, SplitNotFound.
        """
        self._datasets.head(project_id)
        if name is not None:
            return self._splits.summary(project_id, name)
        found = self._splits.summaries(project_id)
        if not found:
            raise SplitNotFound(
                "The project has no split yet.",
                hint="make one: an experiment needs to know what to learn from",
            )
        return found[0]

    def require_pictures(self, project_id: str, split: str) -> None:
        """Raises SplitNotFound, DatasetNotImported; NotTrainable: the training part is empty now, or has one
        class only."""
        self._datasets.head(project_id)
        found = self._splits.get(project_id, split)
        if not found.stats["train"]:
            raise NotTrainable(
                f"The training part of the split {found.split.name!r} is empty.",
                code="experiment.no_data",
                hint="make a split whose training part has pictures",
            )
        classes = [name for name, counts in found.class_distribution.items() if counts["train"]]
        if len(classes) == 1:
            raise one_class(classes[0])

    def write(
        self, project_id: str, experiment: Experiment, path: Path, *, most: int | None = None
    ) -> tuple[Data, list[str]]:
        """Write the manifest from the data set as it is now; what a person should know of it.

        Args:
            most: so many pictures to learn from are enough.

        Raises: as `write_manifest`, and SplitNotFound, DatasetNotImported.
        """
        split = self.split(project_id, experiment.split_id)
        head = self._datasets.head(project_id)
        written = write_manifest(
            path,
            self._datasets.iterate(project_id, head.current),
            self._splits.assignments(project_id, split.id),
            task=require_available(experiment.task),
            classes=head.classes,
            file=lambda record: self._datasets.file(project_id, record),
            most=most,
        )
        data = Data(
            dataset_version=head.current,
            split_id=split.id,
            split_seed=split.seed,
            classes=tuple(head.classes),
            examples=dict(written.examples),
            left_out=dict(written.left_out),
        )
        return data, written.notes()
