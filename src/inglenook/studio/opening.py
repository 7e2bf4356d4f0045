# SPDX-License-Identifier: Apache-2.0
"""How the studio is put together: the only file of it that knows every constructor."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields

from inglenook.base.clock import Clock
from inglenook.catalog.service import CatalogService
from inglenook.engines.dataset import DatasetReaders
from inglenook.jobs.service import JobsService
from inglenook.jobs.work import Work
from inglenook.outgoing.service import OutgoingService
from inglenook.runtime.contracts import Device
from inglenook.runtime.scheduler.loop import Scheduler
from inglenook.settings import Settings
from inglenook.store.lock import ServerInfo
from inglenook.studio.checks.service import ChecksService
from inglenook.studio.checks.work import CheckWork
from inglenook.studio.datasets.book import DatasetBook
from inglenook.studio.datasets.service import DatasetsService
from inglenook.studio.datasets.thumbnails import ThumbnailMaker
from inglenook.studio.evaluation.documents import EvaluationDocuments
from inglenook.studio.evaluation.runs import EvaluationRuns
from inglenook.studio.evaluation.saliency import Saliency
from inglenook.studio.evaluation.service import EvaluationsService
from inglenook.studio.evaluation.views import EvaluationViews
from inglenook.studio.evaluation.work import EvaluateWork
from inglenook.studio.export.documents import ExportDocuments
from inglenook.studio.export.library import Library
from inglenook.studio.export.service import ExportsService
from inglenook.studio.export.work import ExportWork
from inglenook.studio.imports.places import Roots, Uploads
from inglenook.studio.imports.service import ImportsService
from inglenook.studio.imports.work import ImportWork
from inglenook.studio.maps.service import MapsService
from inglenook.studio.maps.work import MapWork
from inglenook.studio.projects.service import ProjectsService
from inglenook.studio.splits.service import SplitsService
from inglenook.studio.studio import Studio, WorkingStudio
from inglenook.studio.training.documents import ExperimentDocuments
from inglenook.studio.training.finding import FindingWork, Previews
from inglenook.studio.training.material import Material
from inglenook.studio.training.news import Newsroom
from inglenook.studio.training.runs import Runs
from inglenook.studio.training.service import ExperimentsService
from inglenook.studio.training.slots import Slots
from inglenook.studio.training.watching import Watching
from inglenook.studio.training.weights import Weights
from inglenook.studio.training.work import TrainWork
from inglenook.studio.workspace import Workspace


@contextmanager
def open_studio(settings: Settings, *, clock: Clock, holder: ServerInfo) -> Iterator[Studio]:
    """Take the workspace, and give it back when the block ends. Blocks.

    Args:
        holder: this process, for whoever finds the workspace taken.

    Raises:
        Conflict: another server has it. CorruptDocument, Unavailable, Failed: it cannot be used.
    """
    workspace = Workspace(settings.studio_folder, clock)
    workspace.open(holder)
    thumbnails = ThumbnailMaker(max_pixels=settings.studio.max_pixels)
    try:
        projects = ProjectsService(workspace=workspace, clock=clock)
        datasets = DatasetsService(
            book=DatasetBook(workspace=workspace, clock=clock),
            projects=projects,
            thumbnails=thumbnails,
            max_images=settings.studio.max_images,
        )
        splits = SplitsService(workspace=workspace, datasets=datasets, clock=clock)
        datasets.split_with(splits)
        projects.count_with("images", datasets.size)
        projects.count_with("splits", splits.count)
        checks = ChecksService(datasets=datasets, clock=clock)
        imports = ImportsService(
            projects=projects,
            datasets=datasets,
            roots=Roots(settings.import_roots),
            uploads=Uploads(settings.studio_folder / "uploads", clock),
            max_upload_bytes=settings.studio.max_upload_bytes,
        )
        documents = ExperimentDocuments(workspace=workspace, clock=clock)
        material = Material(datasets=datasets, splits=splits)
        experiments = ExperimentsService(projects=projects, documents=documents, material=material)
        newsroom = Newsroom()
        evaluation_documents = EvaluationDocuments(experiments=documents)
        evaluations = EvaluationsService(
            projects=projects,
            datasets=datasets,
            checks=checks,
            experiments=documents,
            documents=evaluation_documents,
        )
        documents.before_clearing(evaluations.forget)
        projects.count_with("experiments", experiments.count)
        projects.guard_with(experiments.running)
        projects.guard_with(evaluations.running)
        splits.use_with(experiments.users)
        datasets.need_with(experiments.files)
        yield Studio(
            workspace=workspace,
            projects=projects,
            datasets=datasets,
            splits=splits,
            imports=imports,
            checks=checks,
            works=_works(settings, clock, projects, datasets, imports, checks),
            documents=documents,
            material=material,
            newsroom=newsroom,
            experiments=experiments,
            watching=Watching(documents=documents, newsroom=newsroom),
            export_documents=ExportDocuments(workspace=workspace, clock=clock),
            evaluation_documents=evaluation_documents,
            evaluations=evaluations,
            evaluation_views=EvaluationViews(documents=evaluation_documents),
            maps=MapsService(projects=projects, datasets=datasets, experiments=documents),
            map_jobs={},
        )
    finally:
        thumbnails.close()
        workspace.close()


def _works(
    settings: Settings,
    clock: Clock,
    projects: ProjectsService,
    datasets: DatasetsService,
    imports: ImportsService,
    checks: ChecksService,
) -> tuple[Work, ...]:
    runtime, studio = settings.runtime, settings.studio
    readers = DatasetReaders(
        spool_root=settings.server.data / "spool",
        start_timeout_s=runtime.start_timeout_s,
        cancel_grace_s=runtime.cancel_grace_s,
        stop_grace_s=runtime.stop_grace_s,
        memory_bytes=studio.import_memory_bytes,
    )
    importing = ImportWork(
        projects=projects,
        datasets=datasets,
        readers=readers,
        roots=imports.roots,
        uploads=imports.uploads,
        clock=clock,
        max_pixels=studio.max_pixels,
        max_images=studio.max_images,
        max_upload_bytes=studio.max_upload_bytes,
    )
    checking = CheckWork(
        projects=projects,
        datasets=datasets,
        checks=checks,
        readers=readers,
        clock=clock,
        max_pixels=studio.max_pixels,
    )
    return (importing, checking)


def works_of(
    studio: Studio, settings: Settings, *, scheduler: Scheduler, outgoing: OutgoingService, clock: Clock
) -> list[Work]:
    """The kinds of jobs that need the accelerator."""
    weights = Weights(outgoing=outgoing, models=settings.model_folders, allowed=settings.studio.weights_hub)
    at_once = settings.studio.trainings_at_once
    train = TrainWork(
        scheduler=scheduler,
        documents=studio.documents,
        material=studio.material,
        newsroom=studio.newsroom,
        slots=Slots(_accelerators(scheduler.devices) if at_once is None else at_once),
        clock=clock,
        save_every_s=settings.studio.checkpoint_every_s,
        weights=weights,
    )
    finding = FindingWork(
        scheduler=scheduler,
        documents=studio.documents,
        material=studio.material,
        weights=weights,
        clock=clock,
    )
    export = ExportWork(
        scheduler=scheduler,
        documents=studio.export_documents,
        experiments=studio.documents,
        clock=clock,
    )
    evaluate = EvaluateWork(
        scheduler=scheduler,
        documents=studio.evaluation_documents,
        checks=studio.checks,
        clock=clock,
    )
    layout = MapWork(scheduler=scheduler, maps=studio.maps, clock=clock, running=studio.map_jobs)
    return [train, finding, export, evaluate, layout]


def _accelerators(devices: tuple[Device, ...]) -> int:
    """One training for each; one where there is none."""
    return max(1, sum(device.kind in ("cuda", "rocm", "mps") for device in devices))


def at_work(
    studio: Studio,
    settings: Settings,
    *,
    jobs: JobsService,
    scheduler: Scheduler,
    catalog: CatalogService,
    clock: Clock,
) -> WorkingStudio:
    """The studio with what needs the queue."""
    runs = Runs(
        projects=studio.projects,
        documents=studio.documents,
        material=studio.material,
        jobs=jobs,
        newsroom=studio.newsroom,
        devices=scheduler.devices,
    )
    previews = Previews(
        scheduler=scheduler, documents=studio.documents, material=studio.material, clock=clock
    )
    exports = ExportsService(
        projects=studio.projects,
        documents=studio.export_documents,
        experiments=studio.documents,
        library=Library(catalog=catalog, folder=settings.server.data / "models"),
    )
    studio.projects.count_with("exports", exports.count)
    studio.projects.guard_with(exports.running)
    kept = {field.name: getattr(studio, field.name) for field in fields(Studio)}
    return WorkingStudio(
        **kept,
        runs=runs,
        previews=previews,
        exports=exports,
        evaluation_runs=EvaluationRuns(evaluations=studio.evaluations, jobs=jobs),
        saliency=Saliency(views=studio.evaluation_views, scheduler=scheduler),
    )
