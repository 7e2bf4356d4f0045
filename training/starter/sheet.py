# SPDX-License-Identifier: Apache-2.0
"""Contact sheets: every picture in the order it was asked for, nothing picked."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from training.starter.pictures import Array


def contact_sheet(
    pictures: list[Array], labels: list[str], file: Path, *, columns: int = 16, zoom: int = 2
) -> None:
    """Write a PNG of at most 256 colours. Pictures are float32 (H, W, 3) in [0, 1], all of one size."""
    side = pictures[0].shape[0] * zoom
    cell_w, cell_h = side + 8, side + 16
    rows = -(-len(pictures) // columns)
    page = Image.new("RGB", (columns * cell_w, rows * cell_h), "white")
    pen = ImageDraw.Draw(page)
    for k, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x, y = k % columns * cell_w + 4, k // columns * cell_h + 2
        tile = Image.fromarray((picture * 255 + 0.5).astype(np.uint8)).resize(
            (side, side), Image.Resampling.NEAREST
        )
        page.paste(tile, (x, y))
        pen.rectangle((x - 1, y - 1, x + side, y + side), outline=(225, 225, 225))
        pen.text((x, y + side + 1), label[: max(4, side // 6)], fill=(60, 60, 60))
    file.parent.mkdir(parents=True, exist_ok=True)
    page.quantize(256).save(file, optimize=True)
