# SPDX-License-Identifier: Apache-2.0
"""Files of a data set as answers: whole, in ranges, or not at all where the client has them."""

from email.utils import formatdate
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from inglenook.base.errors import NotFound
from inglenook.studio.datasets.model import ImageRecord
from inglenook.studio.datasets.thumbnails import MEDIA_TYPE

_TYPES = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "tif": "image/tiff",
    "tiff": "image/tiff",
}
_HEADERS = {
    "cache-control": "private, max-age=0, must-revalidate",  # an address outlives its picture
    "content-security-policy": "default-src 'none'; sandbox",
}


def image_file(request: Request, path: Path, record: ImageRecord) -> Response:
    """The original, as it was imported. Raises NotFound: its file is gone."""
    ending = record.filename.rpartition(".")[2].lower()
    media_type = _TYPES.get(ending, "application/octet-stream")
    disposition = "inline" if ending in _TYPES else "attachment"
    return _file(request, path, f'"{record.sha256}"', media_type, record.filename, disposition)


def thumbnail_file(request: Request, path: Path, record: ImageRecord, side_px: int) -> Response:
    """Raises NotFound."""
    etag = f'"{record.sha256}-{side_px}"'
    return _file(request, path, etag, MEDIA_TYPE, f"{record.filename}.webp", "inline")


def _file(
    request: Request, path: Path, etag: str, media_type: str, filename: str, disposition: str
) -> Response:
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise NotFound(f"The file of the picture {filename!r} is gone.", code="image.not_found") from None
    modified = formatdate(stat.st_mtime, usegmt=True)
    headers = {**_HEADERS, "etag": etag, "last-modified": modified}
    if _is_known(request, etag, modified):
        return Response(status_code=304, headers=headers)
    return FileResponse(
        path,
        media_type=media_type,
        headers=headers,
        stat_result=stat,
        filename=filename,
        content_disposition_type=disposition,
    )


def _is_known(request: Request, etag: str, modified: str) -> bool:
    """Whether the client has this very file; a tag counts before a time (RFC 9110, 13.2.2)."""
    tags = request.headers.get("if-none-match")
    if tags is not None:
        return tags.strip() == "*" or etag in (it.strip().removeprefix("W/") for it in tags.split(","))
    return request.headers.get("if-modified-since") == modified
