# SPDX-License-Identifier: Apache-2.0
"""What is asked of an import, and what is told after it."""

from typing import Annotated, Any, Final, Literal

import msgspec

from inglenook.base.errors import (
    Conflict,
    Denied,
    Failed,
    InglenookError,
    Invalid,
    NotFound,
    TooLarge,
    Unavailable,
)
from inglenook.vision.formats.model import MAX_CLASS_CHARS

KIND: Final = "studio.import"
SHOWN_SKIPPED: Final = 100
"""Skipped files that the job itself names; the report has all of them."""
KEPT_REPORTS: Final = 20
"""Of a project; older ones are deleted."""

ClassName = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CLASS_CHARS)]


class LocalFolder(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="local"):
    """A folder, zip file or parquet file of the server's machine; a real path below an allowed root."""

    path: str


class UploadedFile(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="upload"):
    """A zip or parquet file that was sent. `upload`: the folder's name; `name`: what its sender called it."""

    upload: str
    name: str


class UploadedFiles(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="files"):
    """Files that were sent or chosen one by one; `manifest.jsonl` in the folder lists them.

    `labelled`: their classes are in the list; else they follow from the names and folders.
    """

    upload: str
    labelled: bool
    count: int
    what: str


Origin = LocalFolder | UploadedFile | UploadedFiles


class ImportOrder(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of a job.

    Attributes:
        format: as a person named it; None finds it out.
        keep_duplicates: also take what the data set has already, byte for byte (only where `mode` adds).
    """

    project: str
    person: str
    origin: Origin
    format: str | None = None
    mode: Literal["add", "replace"] = "replace"
    keep_duplicates: bool = False


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """How often a reason was given, and the first time's words."""

    count: int
    example: str


def order_of(payload: dict[str, Any]) -> ImportOrder:
    return msgspec.convert(payload, ImportOrder)


_BY_KIND: Final[dict[str, type[InglenookError]]] = {
    error.kind: error for error in (NotFound, Invalid, TooLarge, Conflict, Denied, Unavailable, Failed)
}


def error_of(kind: str, code: str, message: str, hint: str | None) -> InglenookError:
    """The error that a child, or a job that failed, tells of."""
    return _BY_KIND.get(kind, Failed)(message, code=code, hint=hint)
