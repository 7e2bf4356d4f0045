# SPDX-License-Identifier: Apache-2.0
"""What was copied from an AI Studio beside pictures and splits: experiments and exports, as they were."""

from typing import Final

import msgspec

from inglenook.base.errors import NotFound
from inglenook.studio.documents import Document
from inglenook.studio.studio import Studio

CONTENTS: Final = "ai-studio.json"


class OldCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """`problem`: why it cannot be loaded; None where its weights can."""

    file: str
    size_bytes: int
    problem: str | None = None


class OldExperiment(msgspec.Struct, frozen=True, kw_only=True):
    """`status`, `best_metric`: as AI Studio says; its accuracy is the mean over classes. `experiment`: ours
    that tells of it."""

    id: str
    name: str
    status: str
    split_name: str | None
    best_metric: dict[str, float | None] | None
    checkpoints: tuple[OldCheckpoint, ...]
    experiment: str | None = None


class OldExport(msgspec.Struct, frozen=True, kw_only=True):
    """`file`: below the archive; None where there was none."""

    id: str
    experiment_id: str | None
    format: str
    status: str
    file: str | None


class Contents(Document, frozen=True, kw_only=True):
    """`ai-studio.json` in a project."""

    source: str
    project: str
    experiments: tuple[OldExperiment, ...]
    exports: tuple[OldExport, ...]


def contents_of(studio: Studio, project_id: str) -> Contents:
    """Raises NotFound: the project was not copied from an AI Studio, or nothing but its pictures was."""
    path = studio.workspace.project_folder(project_id) / CONTENTS
    if not path.exists():
        raise NotFound("Nothing of an AI Studio lies in this project.", code="project.no_archive")
    return studio.workspace.read(path, Contents)
