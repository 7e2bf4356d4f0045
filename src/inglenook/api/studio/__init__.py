# SPDX-License-Identifier: Apache-2.0
"""Our own routes under /v1: jobs, pictures, the runtime, schedulers, outgoing connections."""

from fastapi import APIRouter

from inglenook.api.studio.jobs import jobs_router
from inglenook.api.studio.outgoing import outgoing_router
from inglenook.api.studio.pictures import pictures_router
from inglenook.api.studio.runtime import runtime_router
from inglenook.door.services import Gallery, Jobs, Outgoing, Runtime

__all__ = ["studio_router"]


def studio_router(*, jobs: Jobs, gallery: Gallery, runtime: Runtime, outgoing: Outgoing) -> APIRouter:
    router = APIRouter()
    router.include_router(jobs_router(jobs=jobs))
    router.include_router(pictures_router(gallery=gallery))
    router.include_router(runtime_router(runtime=runtime))
    router.include_router(outgoing_router(outgoing=outgoing))
    return router
