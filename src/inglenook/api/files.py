# SPDX-License-Identifier: Apache-2.0
"""The file of a picture as an answer."""

from pathlib import Path

from starlette.responses import FileResponse, Response

from inglenook.base.errors import NotFound
from inglenook.gallery.model import Picture


def picture_file(picture: Picture, kept: Path | bytes, media_type: str, headers: dict[str, str]) -> Response:
    """Args:
        kept: where the file is, or its bytes.

    Raises:
        NotFound: its record is there, and the file is gone (`blob.not_found`).
    """
    if isinstance(kept, bytes):
        return Response(kept, media_type=media_type, headers=headers)
    try:
        stat = kept.stat()
    except FileNotFoundError:
        raise NotFound(f"The file of the picture {picture.id} is gone.", code="blob.not_found") from None
    return FileResponse(kept, media_type=media_type, headers=headers, stat_result=stat)
