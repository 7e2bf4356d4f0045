# SPDX-License-Identifier: Apache-2.0
"""The studio as AI Studio's clients ask for it, and what we add: /api/projects, /api/datasets and so on."""

from fastapi import APIRouter

from inglenook.api.deleting import Deleting
from inglenook.api.projects.checks import checks_router
from inglenook.api.projects.datasets import datasets_router
from inglenook.api.projects.evaluation import evaluation_router
from inglenook.api.projects.exports import exports_router
from inglenook.api.projects.imports import imports_router
from inglenook.api.projects.maps import maps_router
from inglenook.api.projects.projects import projects_router
from inglenook.api.projects.splits import splits_router
from inglenook.api.projects.tasks import tasks_router
from inglenook.api.projects.training import training_router
from inglenook.door.routes import add_routes
from inglenook.gallery.service import GalleryService
from inglenook.jobs.service import JobsService
from inglenook.studio.studio import WorkingStudio

__all__ = ["project_router"]


def project_router(
    studio: WorkingStudio, *, jobs: JobsService, gallery: GalleryService, deleting: Deleting
) -> APIRouter:
    router = APIRouter()
    add_routes(
        router,
        projects_router(studio),
        imports_router(studio, jobs=jobs, gallery=gallery),
        checks_router(studio, jobs=jobs),
        maps_router(studio, jobs=jobs),
        datasets_router(studio),
        splits_router(studio),
        tasks_router(),
        training_router(studio),
        evaluation_router(studio, jobs=jobs),
        exports_router(exports=studio.exports, jobs=jobs, deleting=deleting),
    )
    return router
