# SPDX-License-Identifier: Apache-2.0
"""Checkpoints and manifests of the studio for tests, as training writes them, made in a moment."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from inglenook.wire.studio.spec import Augmentations, Example, ModelSpec, Step, TrainSpec

CLASSES = ("red", "green", "blue")
COLOURS = ((230, 30, 30), (30, 230, 30), (30, 30, 230))
NORMALIZE = Step(name="Normalize", params={"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]})
VAL = (Step(name="Resize", params={"size": [20]}), Step(name="CenterCrop", params={"size": [16, 16]}),
       Step(name="ToImage"), NORMALIZE)  # fmt: skip


def write_pictures(folder: Path, *, each: int = 6, subset: str = "test") -> list[Example]:
    """Noisy pictures of one colour each, of sizes that differ."""
    random = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number in range(each * len(COLOURS)):
        target = number % len(COLOURS)
        height, width = 18 + number, 30 - number % 7
        noise = random.integers(-25, 26, (height, width, 3))
        values = np.clip(np.asarray(COLOURS[target]) + noise, 0, 255).astype(np.uint8)
        file = folder / f"{subset}-{number}.png"
        Image.fromarray(values).save(file)
        found.append(Example(id=f"img-{subset}-{number}", file=str(file), subset=subset, target=target))  # type: ignore[arg-type]  # a subset's name
    return found


def write_manifest(path: Path, examples: Sequence[Example]) -> Path:
    path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in examples))
    return path


def write_checkpoint(
    path: Path,
    *,
    steps: Sequence[Step] = VAL,
    side_px: int = 16,
    backbone: str = "small_cnn",
    fit: bool = True,
) -> Path:
    """Args:
    fit: its head is trained on the colours for a moment, so that it is right.
    """
    import torch

    from inglenook.workers.studio.networks.backbones import build_backbone, facts_of
    from inglenook.workers.studio.tasks.registry import task_of
    from inglenook.workers.studio.training import checkpoints

    spec = TrainSpec(
        model=ModelSpec(backbone=backbone, pretrained=False), augmentations=Augmentations(val=tuple(steps))
    )
    torch.manual_seed(0)
    facts = facts_of(backbone)
    task = task_of("classification", CLASSES)
    network = task.network(build_backbone(facts, (side_px, side_px)), facts.features, spec)
    if fit:
        _fit(network, side_px)
    content: dict[str, Any] = {
        "task": "classification",
        "classes": list(CLASSES),
        "class_count": len(CLASSES),
        "backbone": backbone,
        "spec": msgspec.json.encode(spec).decode(),
        "preprocessing": msgspec.json.encode(tuple(steps)).decode(),
        "input": [3, side_px, side_px],
        "network": network.state_dict(),
        "epoch": 4,
        "batch": 2,
        "batches": 2,
        "monitor": "val_accuracy",
        "value": 1.0,
        "values": {"val_accuracy": 1.0, "val_loss": 0.01},
        "weights": "random",
        "pretrained": False,
        "examples": "",
        "lineage": {"project": "proj-00000001", "experiment": "exp-00000001"},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoints.write_checkpoint(path, content)
    return path


def _fit(network: Any, side_px: int) -> None:
    import torch

    colours = torch.tensor(COLOURS, dtype=torch.float32) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pictures = ((colours - mean) / std)[:, :, None, None].expand(3, 3, side_px, side_px)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    targets = torch.arange(3).repeat(4)
    for _ in range(30):
        optimizer.zero_grad()
        noisy = pictures.repeat(4, 1, 1, 1) + 0.2 * torch.randn(12, 3, side_px, side_px)
        torch.nn.functional.cross_entropy(network(noisy), targets).backward()
        optimizer.step()
    network.eval()
