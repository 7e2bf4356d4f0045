# SPDX-License-Identifier: Apache-2.0
"""Our own routes under /v1: jobs, pictures, the runtime, the schedulers."""

from fastapi import APIRouter

from inglenook.api.studio.jobs import jobs_router
from inglenook.api.studio.pictures import pictures_router
from inglenook.api.studio.runtime import runtime_router
from inglenook.door.services import Catalog, Gallery, Jobs, Runtime

__all__ = ["studio_router"]


def studio_router(*, jobs: Jobs, gallery: Gallery, runtime: Runtime, catalog: Catalog) -> APIRouter:
    router = APIRouter()
    router.include_router(jobs_router(jobs=jobs))
    router.include_router(pictures_router(gallery=gallery))
    router.include_router(runtime_router(runtime=runtime, catalog=catalog))
    return router
