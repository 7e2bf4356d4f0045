# SPDX-License-Identifier: Apache-2.0
"""Small pictures of a data set: WebP files, made when somebody looks, by a few threads of their own."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from inglenook.base.errors import Invalid, NotFound, TooLarge
from inglenook.store.files import write_atomic, write_error

if TYPE_CHECKING:
    from PIL import Image

SIDES_PX: Final = (128, 256)
MEDIA_TYPE: Final = "image/webp"
_QUALITY: Final = 85
_AT_ONCE: Final = 2
"""A large picture takes hundreds of megabytes while it is decoded."""


class ThumbnailMaker:
    """Args:
    max_pixels: of a picture that is decoded.
    """

    def __init__(self, *, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="thumbnails")
        self._under_way: dict[Path, Future[Path]] = {}
        self._guard = threading.Lock()

    def close(self) -> None:
        """What has not begun is called off. Idempotent."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def make(self, picture: Path, target: Path, side_px: int) -> "Future[Path]":
        """`target`, once it is there; several who ask for the same wait for one.

        The future raises:
            NotFound: the picture's file is gone. Invalid: it cannot be decoded.
            TooLarge: it has too many pixels. Failed: no room on the disk.
        """
        if target.is_file():
            done: Future[Path] = Future()
            done.set_result(target)
            return done
        with self._guard:
            running = self._under_way.get(target)
            if running is None:
                running = self._threads.submit(self._make, picture, target, side_px)
                self._under_way[target] = running
                running.add_done_callback(lambda _: self._forget(target))
            return running

    def _forget(self, target: Path) -> None:
        # Also called by `make` itself, under the guard, where the work was over at once.
        self._under_way.pop(target, None)

    def _make(self, picture: Path, target: Path, side_px: int) -> Path:
        made = small(picture, side_px=side_px, max_pixels=self._max_pixels)
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(error, target) from error
        write_atomic(target, made)
        return target


def small(picture: Path, *, side_px: int, max_pixels: int) -> bytes:
    """The picture as it is meant to be looked at (EXIF's rotation applied), its longest side at most
    `side_px` pixels, as WebP; transparency is kept. Raises NotFound, Invalid, TooLarge.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(picture) as image:
            if image.width * image.height > max_pixels:
                raise TooLarge(
                    f"{picture.name} has {image.width} × {image.height} pixels; {max_pixels} are allowed.",
                    code="picture.too_large",
                )
            image.draft("RGB", (2 * side_px, 2 * side_px))  # JPEG is decoded small at once
            turned = ImageOps.exif_transpose(image)
            turned.thumbnail((side_px, side_px), Image.Resampling.LANCZOS, reducing_gap=2.0)
            buffer = BytesIO()
            _plain(turned).save(buffer, "WEBP", quality=_QUALITY)
            return buffer.getvalue()
    except FileNotFoundError:
        raise NotFound(f"The file {picture.name} is gone.", code="image.not_found") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge(
            f"{picture.name} has more than {max_pixels} pixels.", code="picture.too_large"
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise Invalid(
            f"{picture.name} cannot be decoded: {str(error)[:150]}.", code="picture.unreadable"
        ) from error


def _plain(image: "Image.Image") -> "Image.Image":
    """In a mode that WebP knows; 16-bit grey is brought to 8 bits by its own range."""

    if image.mode.startswith("I") or image.mode == "F":
        low, high = cast("tuple[float, float]", image.getextrema())
        scale = 255.0 / (high - low) if high > low else 0.0
        floats = image.convert("F").point(lambda value: value * scale - low * scale)
        return floats.convert("L").convert("RGB")
    has_alpha = "A" in image.getbands() or "transparency" in image.info
    if image.mode in ("RGB", "RGBA"):
        return image
    return image.convert("RGBA" if has_alpha else "RGB")
