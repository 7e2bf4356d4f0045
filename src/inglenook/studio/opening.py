# SPDX-License-Identifier: Apache-2.0
"""How the studio is put together: the only file of it that knows every constructor."""

from collections.abc import Iterator
from contextlib import contextmanager

from inglenook.base.clock import Clock
from inglenook.settings import Settings
from inglenook.store.lock import ServerInfo
from inglenook.studio.datasets.book import DatasetBook
from inglenook.studio.datasets.service import DatasetsService
from inglenook.studio.datasets.thumbnails import ThumbnailMaker
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
        yield Studio(workspace=workspace, projects=projects, datasets=datasets, splits=splits)
    finally:
        thumbnails.close()
        workspace.close()
