# SPDX-License-Identifier: Apache-2.0
"""The studio as AI Studio's clients ask for it, and what we add: /api/projects, /api/datasets, /api/splits
…
"""

from fastapi import APIRouter

from inglenook.api.projects.datasets import datasets_router
from inglenook.api.projects.projects import projects_router
from inglenook.api.projects.splits import splits_router
from inglenook.studio.studio import Studio

__all__ = ["project_router"]


def project_router(studio: Studio) -> APIRouter:
    router = APIRouter()
    for made in (projects_router, datasets_router, splits_router):
        router.include_router(made(studio))
    return router
