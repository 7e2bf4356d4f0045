# SPDX-License-Identifier: Apache-2.0
"""How the studio is put together: the only file of it that knows every constructor."""

from collections.abc import Iterator
from contextlib import contextmanager

from inglenook.base.clock import Clock
from inglenook.engines.dataset import DatasetReaders
from inglenook.jobs.work import Work
from inglenook.settings import Settings
from inglenook.store.lock import ServerInfo
from inglenook.studio.checks.service import ChecksService
from inglenook.studio.checks.work import CheckWork
from inglenook.studio.datasets.book import DatasetBook
from inglenook.studio.datasets.service import DatasetsService
from inglenook.studio.datasets.thumbnails import ThumbnailMaker
from inglenook.studio.imports.places import Roots, Uploads
from inglenook.studio.imports.service import ImportsService
from inglenook.studio.imports.work import ImportWork
from inglenook.studio.projects.service import ProjectsService
from inglenook.studio.splits.service import SplitsService
from inglenook.studio.studio import Studio
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
        )
        yield Studio(
            workspace=workspace,
            projects=projects,
            datasets=datasets,
            splits=splits,
            imports=imports,
            checks=checks,
            works=_works(settings, clock, projects, datasets, imports, checks),
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
