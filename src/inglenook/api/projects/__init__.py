# SPDX-License-Identifier: Apache-2.0
"""The studio as AI Studio's clients ask for it, and what we add: /api/projects, /api/datasets and so on."""

from fastapi import APIRouter

from inglenook.api.projects.datasets import datasets_router
from inglenook.api.projects.projects import projects_router
from inglenook.api.projects.splits import splits_router
from inglenook.door.routes import add_routes
from inglenook.studio.studio import Studio

__all__ = ["project_router"]


def project_router(studio: Studio) -> APIRouter:
    router = APIRouter()
    add_routes(router, projects_router(studio), datasets_router(studio), splits_router(studio))
    return router
