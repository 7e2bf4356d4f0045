# SPDX-License-Identifier: Apache-2.0
"""The studio's services, as the doors get them."""

from dataclasses import dataclass

from inglenook.jobs.work import Work
from inglenook.studio.checks.service import ChecksService
from inglenook.studio.datasets.service import DatasetsService
from inglenook.studio.evaluation.documents import EvaluationDocuments
from inglenook.studio.evaluation.runs import EvaluationRuns
from inglenook.studio.evaluation.saliency import Saliency
from inglenook.studio.evaluation.service import EvaluationsService
from inglenook.studio.evaluation.views import EvaluationViews
from inglenook.studio.export.documents import ExportDocuments
from inglenook.studio.export.service import ExportsService
from inglenook.studio.imports.service import ImportsService
from inglenook.studio.maps.service import MapsService
from inglenook.studio.projects.service import ProjectsService
from inglenook.studio.splits.service import SplitsService
from inglenook.studio.training.documents import ExperimentDocuments
from inglenook.studio.training.finding import Previews
from inglenook.studio.training.material import Material
from inglenook.studio.training.news import Newsroom
from inglenook.studio.training.runs import Runs
from inglenook.studio.training.service import ExperimentsService
from inglenook.studio.training.watching import Watching
from inglenook.studio.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """What lies in the workspace.

    Attributes:
        works: its jobs that need no accelerator.
        map_jobs: which job makes a project's map now.
    """

    workspace: Workspace
    projects: ProjectsService
    datasets: DatasetsService
    splits: SplitsService
    imports: ImportsService
    checks: ChecksService
    works: tuple[Work, ...]
    documents: ExperimentDocuments
    material: Material
    newsroom: Newsroom
    experiments: ExperimentsService
    watching: Watching
    export_documents: ExportDocuments
    evaluation_documents: EvaluationDocuments
    evaluations: EvaluationsService
    evaluation_views: EvaluationViews
    maps: MapsService
    map_jobs: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingStudio(Studio):
    """The same with what needs the queue of jobs."""

    runs: Runs
    previews: Previews
    exports: ExportsService
    evaluation_runs: EvaluationRuns
    saliency: Saliency
