# SPDX-License-Identifier: Apache-2.0
"""The studio's services, as the doors get them."""

from dataclasses import dataclass

from inglenook.studio.datasets.service import DatasetsService
from inglenook.studio.projects.service import ProjectsService
from inglenook.studio.splits.service import SplitsService
from inglenook.studio.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Studio:
    workspace: Workspace
    projects: ProjectsService
    datasets: DatasetsService
    splits: SplitsService
