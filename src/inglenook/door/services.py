# SPDX-License-Identifier: Apache-2.0
"""What the doors need of the services below them, and no more. `app.py` hands in the real ones."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from inglenook.base.cancel import StopReason
from inglenook.base.ids import BlobId, JobId, ModelId, PersonId, PictureId, ResidentId
from inglenook.base.work import WorkClass
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.gallery.model import Picture
from inglenook.images.model import ImageRequest
from inglenook.images.request import Limits
from inglenook.jobs.model import Job, JobEvent, JobState, Json
from inglenook.outgoing.model import Bounds, Entry, Fetched


class Images(Protocol):
    @property
    def limits(self) -> Limits:
        """What one request may ask for."""
        ...

    async def submit(
        self,
        request: ImageRequest,
        *,
        owner: PersonId,
        work_class: WorkClass = WorkClass.INTERACTIVE,
        idempotency_key: str | None = None,
    ) -> Job: ...

    async def keep_input(self, data: bytes) -> BlobId: ...

    async def keep_marked(self, data: bytes, markup: bytes) -> BlobId:
        """A picture with what was scribbled over it laid on it."""
        ...

    async def keep_mask(self, data: bytes) -> BlobId: ...

    async def keep_own_mask(self, data: bytes) -> BlobId | None:
        """The transparent part of a picture as a mask; None where the picture is opaque."""
        ...


class Jobs(Protocol):
    async def get(self, job: JobId, caller: PersonId) -> Job: ...

    async def list(
        self,
        caller: PersonId,
        *,
        states: Iterable[JobState] | None = None,
        kind: str | None = None,
        limit: int = 50,
        before: JobId | None = None,
    ) -> list[Job]: ...

    async def wait(self, job: JobId) -> Job: ...

    async def cancel(
        self, job: JobId, *, caller: PersonId, reason: StopReason = StopReason.CANCELLED
    ) -> Job: ...

    async def retry(self, job: JobId, *, caller: PersonId) -> Job: ...

    def subscribe(self, job: JobId, last_event_id: int | None = None) -> AsyncGenerator[JobEvent, None]:
        """Asks nobody who is reading: look with `get` first."""
        ...

    def subscribe_all(self, owner: PersonId) -> AsyncGenerator[JobEvent, None]: ...

    def describe(self, job: Job) -> Json: ...

    async def counts(self, kind: str | None = None) -> Mapping[JobState, int]: ...


class Gallery(Protocol):
    """Blocks."""

    def get(self, picture: PictureId, *, caller: PersonId) -> Picture: ...

    def list(self, caller: PersonId, *, limit: int, before: PictureId | None = None) -> list[Picture]: ...

    def file(self, picture: PictureId, *, caller: PersonId) -> tuple[Path | bytes, str]: ...

    def linked(self, picture: PictureId) -> Picture:
        """For whoever shows a signed address."""
        ...

    def delete(self, picture: PictureId, *, caller: PersonId) -> None: ...


class Links(Protocol):
    """Signed addresses of pictures."""

    def name(self, picture: PictureId, media_type: str) -> str: ...

    def picture(self, name: str) -> PictureId: ...


class Outgoing(Protocol):
    """The one way out."""

    @property
    def offline(self) -> bool: ...

    async def fetch(self, url: str, *, purpose: str, bounds: Bounds) -> Fetched: ...

    def ledger(self, *, limit: int, before: int | None = None) -> list[Entry]:
        """Blocks."""
        ...


class Catalog(Protocol):
    """Blocks."""

    def list(self, kind: ModelKind | None = None) -> list[ModelRecord]: ...

    def get(self, model_id: ModelId) -> ModelRecord: ...

    def resolve(self, name: str) -> ModelRecord: ...

    def find(self, name: str) -> ModelRecord: ...

    def resolve_part(self, name: str, kind: ModelKind) -> ModelRecord: ...

    def refresh(self) -> None: ...


class Runtime(Protocol):
    def snapshot(self) -> Mapping[str, Any]: ...

    async def unload(self, resident: ResidentId) -> bool:
        """End an idle resident; False when it is not there or is at work."""
        ...
