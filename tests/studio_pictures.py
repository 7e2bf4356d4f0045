# SPDX-License-Identifier: Apache-2.0
"""Small pictures that a network learns in a second, and manifests of them."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from inglenook.wire.studio.spec import Augmentations, Example, Hyperparameters, ModelSpec, Step, TrainSpec

CLASSES = ("left", "right", "top")
SIDE_PX = 8


def draw_pictures(folder: Path, count: int, *, val: int = 0, classes: Sequence[int] | None = None) -> Path:
    """`count` pictures of 8 x 8 and the manifest over them, the last `val` of them for validation. A class
    is the half that is bright; noise makes each picture its own. Returns the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    lines = []
    for number in range(count):
        target = number % 3 if classes is None else classes[number]
        pixels = rng.integers(0, 90, (SIDE_PX, SIDE_PX, 3))
        bright = (slice(None), slice(0, 4)), (slice(None), slice(4, 8)), (slice(0, 4), slice(None))
        pixels[bright[target]] += 120
        file = folder / f"{number}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(file)
        subset = "val" if number >= count - val else "train"
        lines.append(Example(id=f"img-{number}", file=str(file), subset=subset, target=target))
    return write_manifest(folder / "manifest.jsonl", lines)


def write_manifest(path: Path, examples: Sequence[Example]) -> Path:
    path.write_bytes(b"\n".join(msgspec.json.encode(example) for example in examples))
    return path


def read_examples(manifest: Path) -> list[Example]:
    return [msgspec.json.decode(line, type=Example) for line in manifest.read_bytes().splitlines()]


SMALL = (Step(name="Resize", params={"size": [SIDE_PX, SIDE_PX]}), Step(name="ToImage"))
SHAKEN = (
    Step(name="RandomHorizontalFlip", params={"p": 0.2}),
    Step(name="ColorJitter", params={"brightness": 0.2}),
    Step(name="RandomCrop", params={"size": [SIDE_PX, SIDE_PX], "padding": 1, "apply_p": 0.5}),
    Step(name="ToImage"),
)


def spec(
    *,
    backbone: str = "small_cnn",
    train: tuple[Step, ...] = SMALL,
    model: dict | None = None,
    **chosen: object,
) -> TrainSpec:
    """Two epochs of batches of eight on the smallest network, with whatever is asked for besides."""
    given = {"max_epochs": 2, "batch_size": 8, "warmup_epochs": 0, "learning_rate": 0.01} | chosen
    return TrainSpec(
        model=ModelSpec(backbone=backbone, pretrained=False, **(model or {})),
        hyperparameters=Hyperparameters(**given),
        augmentations=Augmentations(train=train, val=SMALL),
    )
