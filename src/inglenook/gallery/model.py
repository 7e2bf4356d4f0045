# SPDX-License-Identifier: Apache-2.0
"""A picture in the gallery as a value. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from inglenook.base.ids import BlobId, JobId, ModelId, PersonId, PictureId


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture that was made and kept.

    Attributes:
        blob: its file in the blob store, with all parameters embedded in it.
        width, height: pixels of the file.
        size_bytes: of the file.
        parameters: everything that is needed to make it again (JSON; the same as embedded in the file).
    """

    id: PictureId
    owner: PersonId
    job: JobId | None
    blob: BlobId
    media_type: str
    width: int
    height: int
    size_bytes: int
    model: ModelId
    prompt: str
    seed: int
    parameters: dict[str, Any]
    created_at: datetime
