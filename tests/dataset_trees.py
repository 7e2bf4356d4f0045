# SPDX-License-Identifier: Apache-2.0
"""Listings of data sets that exist only in memory, and small pictures as bytes."""

import io
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from PIL import Image

from inglenook.base.errors import InglenookError
from inglenook.vision.formats.model import FormatError, Tree
from inglenook.workers.dataset.errors import BadFile

T = TypeVar("T")


def tree(files: Mapping[str, str | bytes], *, empty: tuple[str, ...] = ()) -> Tree:
    """Args:
    files: contents by path. empty: folders without a file.
    """
    data = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    folders = set(empty)
    for path in data:
        parts = path.split("/")[:-1]
        folders.update("/".join(parts[: depth + 1]) for depth in range(len(parts)))

    def read(path: str, limit: int) -> bytes:
        if len(data[path]) > limit:
            raise FormatError(f"{path} has more than {limit} bytes.")
        return data[path]

    return Tree(data, folders, read)


def picture(
    seed: int = 0, *, size: tuple[int, int] = (24, 16), form: str = "PNG", **options: object
) -> bytes:
    """A picture of noise: another seed, another picture."""
    values = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, form, **options)
    return buffer.getvalue()


def scene(seed: int = 0, *, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture with large shapes, as photographs have them: what is like it has a hash like it."""
    values = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


def unless_refused(work: Callable[[], T]) -> T | None:
    """What `work` returns; None where it refused with words. Any other error is one of ours."""
    try:
        return work()
    except (InglenookError, BadFile) as error:
        if not str(error).strip():
            raise
        return None
