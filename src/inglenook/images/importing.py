# SPDX-License-Identifier: Apache-2.0
"""Pictures from elsewhere: looked at, never changed, and kept with what they tell. Everything here blocks."""

from collections.abc import Mapping
from typing import Any

from inglenook.base.errors import Invalid
from inglenook.base.ids import ModelId, PersonId
from inglenook.gallery.model import UNKNOWN_SEED, Picture, Source
from inglenook.gallery.service import GalleryService
from inglenook.images.foreign import alice_parameters, parameters_in
from inglenook.images.intake import upright_size
from inglenook.images.model import MAX_SEED
from inglenook.images.sniff import Format, sniff

_MEDIA_TYPES: Mapping[Format, str] = {
    Format.PNG: "image/png",
    Format.JPEG: "image/jpeg",
    Format.WEBP: "image/webp",
    Format.GIF: "image/gif",
}
MAX_NAME_CHARS = 200


class PictureImporter:
    """Args:
    max_bytes, max_pixels: of a picture that is taken.
    """

    def __init__(self, *, gallery: GalleryService, max_bytes: int, max_pixels: int) -> None:
        self._gallery = gallery
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels

    def keep(self, data: bytes, *, owner: PersonId, name: str = "") -> Picture:
        """Keep a picture byte by byte, with the parameters that it holds, if any.

        Args:
            name: of the file, kept beside the parameters.

        Raises:
            Invalid, TooLarge: not a picture that can be shown (PNG, JPEG, WebP, GIF), or too large a one.
            Failed: no room on the disk.
        """
        return self._keep(data, owner, name, parameters_in(data))

    def keep_alice(self, record: Mapping[str, Any], data: bytes, *, owner: PersonId) -> Picture:
        """Keep a picture of ALICE's gallery, whose files hold nothing, with its record.

        Raises: as `keep`.
        """
        name = record.get("filename")
        parameters = alice_parameters(record) | parameters_in(data)
        tags = record.get("tags")
        fitting = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
        return self._keep(
            data, owner, name if isinstance(name, str) else "", parameters, [tag[:50] for tag in fitting[:20]]
        )

    def _keep(
        self,
        data: bytes,
        owner: PersonId,
        name: str,
        parameters: dict[str, Any],
        tags: list[str] | None = None,
    ) -> Picture:
        kind = sniff(data, field="file")
        if kind not in _MEDIA_TYPES:
            raise Invalid(
                f"The file is a {kind} picture, which is not kept in the gallery.",
                code="picture.unsupported",
                hint="send PNG, JPEG, WebP or GIF",
                field="file",
            )
        width, height = upright_size(
            data, max_bytes=self._max_bytes, max_pixels=self._max_pixels, field="file"
        )
        seed = parameters.get("seed")
        known = {"width": width, "height": height} | parameters
        if name:
            known["file"] = name[:MAX_NAME_CHARS]
        return self._gallery.add(
            owner=owner,
            job=None,
            data=data,
            media_type=_MEDIA_TYPES[kind],
            width=width,
            height=height,
            model=ModelId(str(parameters.get("model") or "")),
            prompt=str(parameters.get("prompt") or ""),
            seed=seed if isinstance(seed, int) and 0 <= seed <= MAX_SEED else UNKNOWN_SEED,
            parameters=known,
            source=Source.IMPORTED,
            tags=tags or (),
        )
