# SPDX-License-Identifier: Apache-2.0
"""Our training loop against a bare Lightning script, and our reading of pictures against a plain torchvision
loader.

Both sides of a pair get the same pictures, batches, network, optimizer and one thread, in turn. CPU seconds,
so that a busy machine does not blur them. `python -m benchmarks.training` prints one JSON object; a ratio
above 1 means that ours is faster. Ours counts metrics, watches the loss, logs, and can be parked and resumed;
the bare one does none of that. Both write a checkpoint at the end of each epoch.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

ROUNDS = int(os.environ.get("TRAINING_ROUNDS", "5"))
EPOCHS = 2
"""The first one warms up and is not counted."""


def main() -> None:
    print(json.dumps(measure(), indent=1))


def measure() -> dict[str, Any]:
    import torch

    from inglenook.workers.studio.worker import quieten

    quieten()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        small = pictures(root / "small", count=256, size=(32, 32), form="png")
        large = pictures(root / "large", count=64, size=(480, 360), form="jpg")
        return {
            "loop, small_cnn 32x32, batch 16": _compare(
                _bare(root, small, "small_cnn"), _ours(root, small, "small_cnn"), ROUNDS
            ),
            "loop, resnet18 32x32, batch 16": _compare(
                _bare(root, small, "resnet18"), _ours(root, small, "resnet18"), ROUNDS
            ),
            "reading, JPEG 480x360 to 224x224, batch 16": _compare(
                _plain_loader(root / "large"), _our_loader(large), ROUNDS
            ),
        }


def _compare(theirs: Callable[[], float], ours: Callable[[], float], rounds: int) -> dict[str, float]:
    """Each returns its CPU seconds."""
    theirs()
    ours()
    times: dict[str, list[float]] = {"theirs": [], "ours": []}
    for number in range(rounds):
        pair = [("theirs", theirs), ("ours", ours)]
        for name, run in pair if number % 2 else reversed(pair):
            times[name].append(run())
    return {
        "theirs_cpu_s": statistics.median(times["theirs"]),
        "ours_cpu_s": statistics.median(times["ours"]),
        "speed_ratio": statistics.median(a / b for a, b in zip(times["theirs"], times["ours"], strict=True)),
    }


def pictures(folder: Path, *, count: int, size: tuple[int, int], form: str, train: int | None = None) -> Path:
    """Smooth random pictures of four classes, a folder each, and the manifest over them.

    Args:
        train: so many are to learn from, the others to test with; None takes all.
    """
    import msgspec
    import numpy as np
    from PIL import Image

    from inglenook.wire.studio.spec import Example

    rng = np.random.default_rng(0)
    lines = []
    for number in range(count):
        target = number % 4
        file = folder / str(target) / f"{number}.{form}"
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 255, (9, 12, 3), np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(file)
        subset = "train" if train is None or number < train else "test"
        lines.append(Example(id=str(number), file=str(file), subset=subset, target=target))
    manifest = folder / "manifest.jsonl"
    manifest.write_bytes(b"\n".join(msgspec.json.encode(line) for line in lines))
    return manifest


def spec(backbone: str, side_px: int, *, crops: bool = False) -> Any:
    from inglenook.wire.studio.spec import Augmentations, Hyperparameters, ModelSpec, Step, TrainSpec

    size = {"size": [side_px, side_px]}
    last = (Step(name="ToImage"), Step(name="Normalize", params={"mean": [0.5] * 3, "std": [0.5] * 3}))
    cropped = (Step(name="RandomResizedCrop", params=size), Step(name="RandomHorizontalFlip"))
    train = (*cropped, *last) if crops else (Step(name="Resize", params=size), *last)
    return TrainSpec(
        model=ModelSpec(backbone=backbone, pretrained=False, dropout=0.0),
        hyperparameters=Hyperparameters(
            max_epochs=EPOCHS, batch_size=16, warmup_epochs=0, scheduler="none", early_stopping_patience=0
        ),
        augmentations=Augmentations(train=train, val=(Step(name="Resize", params=size), *last)),
    )


def context(root: Path, send: Callable[[Any], None]) -> Any:
    from inglenook.base.clock import SystemClock
    from inglenook.workers.studio.context import Context
    from inglenook.workers.studio.device import StudioDevice
    from inglenook.workers.studio.gate import Gate

    clock = SystemClock()
    return Context(
        send=send,
        should_stop=lambda: False,
        device=StudioDevice("cpu"),
        spool=root,
        models=(),
        gate=Gate(send=send, should_stop=lambda: False, clock=clock),
        clock=clock,
    )


def work(manifest: Path, root: Path, chosen: Any) -> Any:
    from inglenook.wire.studio.training import Train

    return Train(
        job="j",
        task="classification",
        spec=chosen,
        classes=("a", "b", "c", "d"),
        manifest=str(manifest),
        folder=str(root / "run"),
    )


def _ours(root: Path, manifest: Path, backbone: str) -> Callable[[], float]:
    from inglenook.wire.studio.training import Epoch, Trained
    from inglenook.workers.studio.training.run import train

    def run() -> float:
        ends: list[float] = []

        def send(message: Any) -> None:
            if isinstance(message, Epoch):
                ends.append(time.process_time())

        last = train(work(manifest, root, spec(backbone, 32)), context(root, send))
        assert isinstance(last, Trained), last
        return ends[-1] - ends[0]

    return run


def _bare(root: Path, manifest: Path, backbone: str) -> Callable[[], float]:
    """What somebody would write: the same network and batches, automatic optimization, Lightning's
    checkpoint."""
    import torch
    from lightning.pytorch import LightningModule, Trainer
    from torch.nn import functional

    from inglenook.workers.studio.training.preparing import build, prepare_data

    chosen = spec(backbone, 32)

    class Bare(LightningModule):
        def __init__(self, network: Any, ends: list[float]) -> None:
            super().__init__()
            self.network = network
            self.ends = ends

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            pixels, targets = batch
            return functional.cross_entropy(self.network(pixels), targets)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=0.001, weight_decay=0.0001)

        def on_train_epoch_end(self) -> None:
            self.ends.append(time.process_time())

    class Loader:
        def __init__(self, data: Any) -> None:
            self.data = data
            self.epoch = 0

        def __len__(self) -> int:
            return len(self.data.plan(1))

        def __iter__(self) -> Any:
            self.epoch += 1
            for batch in self.data.train.over(self.data.plan(self.epoch)):
                yield batch.pixels, batch.targets

    def run() -> float:
        there = context(root, lambda message: None)
        data = prepare_data(work(manifest, root, chosen), there)
        ends: list[float] = []
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=EPOCHS,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=root / "bare",
        )
        trainer.fit(Bare(build(data, there).network, ends), Loader(data))
        return ends[-1] - ends[0]

    return run


def _our_loader(manifest: Path) -> Callable[[], float]:
    from inglenook.workers.studio.training.preparing import prepare_data

    data = prepare_data(
        work(manifest, manifest.parent, spec("resnet18", 224, crops=True)),
        context(manifest.parent, lambda message: None),
    )

    def run() -> float:
        began = time.process_time()
        count = sum(len(batch) for batch in data.train.over(data.plan(1)))
        assert count == len(data.manifest.train)
        return time.process_time() - began

    return run


def _plain_loader(folder: Path) -> Callable[[], float]:
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps = v2.Compose(
        [
            v2.RandomResizedCrop([224, 224]),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    loader = DataLoader(ImageFolder(folder, steps), batch_size=16, shuffle=True)

    def run() -> float:
        began = time.process_time()
        assert sum(len(batch) for batch, _ in loader) > 0
        return time.process_time() - began

    return run


if __name__ == "__main__":
    main()
