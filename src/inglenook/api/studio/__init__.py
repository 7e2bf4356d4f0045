# SPDX-License-Identifier: Apache-2.0
"""Our own routes under /v1: jobs, pictures, the runtime, schedulers, outgoing connections."""

from fastapi import APIRouter

from inglenook.api.studio.imports import imports_router
from inglenook.api.studio.jobs import jobs_router
from inglenook.api.studio.journal import journal_router
from inglenook.api.studio.marks import marks_router
from inglenook.api.studio.outgoing import outgoing_router
from inglenook.api.studio.pictures import pictures_router
from inglenook.api.studio.runtime import runtime_router
from inglenook.base.journal import Journal
from inglenook.door.routes import joined
from inglenook.door.services import Catalog, Gallery, Importer, Jobs, Outgoing, Runtime, Thumbnails

__all__ = ["studio_router"]


def studio_router(
    *,
    jobs: Jobs,
    gallery: Gallery,
    thumbnails: Thumbnails,
    importer: Importer,
    runtime: Runtime,
    catalog: Catalog,
    journal: Journal,
    outgoing: Outgoing,
    public_hours: int,
) -> APIRouter:
    """Args:
    public_hours: after which a public picture becomes private again where a request does not say.
    """
    return joined(
        jobs_router(jobs=jobs),
        # Before the routes of one picture, whose id would otherwise be `tags`.
        marks_router(gallery=gallery, public_hours=public_hours),
        imports_router(importer=importer),
        pictures_router(gallery=gallery, thumbnails=thumbnails),
        runtime_router(runtime=runtime, catalog=catalog),
        journal_router(journal=journal),
        outgoing_router(outgoing=outgoing),
    )
