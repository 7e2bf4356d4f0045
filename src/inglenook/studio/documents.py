# SPDX-License-Identifier: Apache-2.0
"""Documents of the workspace: JSON that a person can read, each with the version of its schema."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import msgspec

from inglenook.base.errors import Conflict, NotFound, Unavailable
from inglenook.store.files import write_atomic
from inglenook.studio.errors import CorruptDocument

Migration = Callable[[dict[str, Any]], dict[str, Any]]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every document.

    Attributes:
        SCHEMA: the newest version; rises when a field changes its meaning.
        MIGRATIONS: by the version that it starts from, what makes the next one of a document's fields.
        version: of the schema that the document was written with.
    """

    SCHEMA: ClassVar[int] = 1
    MIGRATIONS: ClassVar[Mapping[int, Migration]] = {}

    version: int = 1


class _Versioned(msgspec.Struct):
    version: Any = None


D = TypeVar("D", bound=Document)


def stamp(now: datetime) -> str:
    """ISO 8601, UTC, with `Z`, as every time in a document is written."""
    return now.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def encoded(document: msgspec.Struct) -> bytes:
    """As it lies on the disk: JSON with an indent of two spaces and a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def write_document(path: Path, document: Document) -> None:
    """Replace the document, or leave the old one as it was.

    Raises:
        Failed: no room on the disk. Unavailable: the folder cannot be written to.
    """
    write_atomic(path, encoded(document))


def read_document(path: Path, kind: type[D]) -> D:
    """The document, brought to the newest schema.

    Raises:
        NotFound: it is not there (`studio.missing`).
        CorruptDocument: it is no JSON, or not of that kind.
        Conflict: a newer program has written it (`studio.newer`).
        Unavailable: the system does not let us read it.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"{path} is not there.", code="studio.missing") from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}.", code="studio.unreadable") from error
    try:
        if msgspec.json.decode(data, type=_Versioned).version == kind.SCHEMA:
            return msgspec.json.decode(data, type=kind)  # several times as fast as the way by a dictionary
        return msgspec.convert(_current(path, json.loads(data), kind), kind)
    except (ValueError, RecursionError) as error:  # msgspec's error is a ValueError
        raise _corrupt(path, str(error)) from error


def _current(path: Path, fields: Any, kind: type[Document]) -> dict[str, Any]:
    """The fields after every migration that they need. Raises as `read_document`."""
    version = fields.get("version") if isinstance(fields, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise _corrupt(path, "it names no version of its schema")
    if version > kind.SCHEMA:
        raise Conflict(
            f"{path} was written by a newer program: its schema is {version}, and this one knows"
            f" {kind.SCHEMA}.",
            code="studio.newer",
            hint="use the newer program",
        )
    for step in range(version, kind.SCHEMA):
        fields = kind.MIGRATIONS[step](fields)
    return {**fields, "version": kind.SCHEMA}


def _corrupt(path: Path, why: str) -> CorruptDocument:
    return CorruptDocument(
        f"{path} cannot be read: {why[:200]}.", hint="repair it by hand, or put back a copy"
    )
