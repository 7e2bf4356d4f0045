# SPDX-License-Identifier: Apache-2.0
"""What an export loses: the file against its checkpoint on every picture of the test part.

`python -m benchmarks.exporting` prints one JSON object. The networks learn for a moment, so that their logits
are those of networks that have learned.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

from benchmarks.training import context, pictures, spec, work
from inglenook.wire.studio.export import Export, Exported, ExportOptions
from inglenook.wire.studio.spec import Example

BACKBONES = ("small_cnn", "resnet18")
SIDE_PX = 32
TRAIN, TEST = 48, 16
BATCH = 16


def main() -> None:
    print(json.dumps(measure(), indent=1))


def measure() -> dict[str, Any]:
    import torch

    from inglenook.workers.studio.worker import quieten

    quieten()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        manifest = pictures(root / "pictures", count=TRAIN + TEST, size=(40, 40), form="png", train=TRAIN)
        return {
            "side_px": SIDE_PX,
            "networks": {name: _exported(root / name, manifest, name) for name in BACKBONES},
        }


def _exported(root: Path, manifest: Path, backbone: str) -> dict[str, Any]:
    from inglenook.wire.studio.training import Trained
    from inglenook.workers.studio.export.handler import export
    from inglenook.workers.studio.training.run import train

    root.mkdir()
    there = context(root, lambda message: None)
    trained = train(work(manifest, root, spec(backbone, SIDE_PX)), there)
    assert isinstance(trained, Trained), trained
    checkpoint = root / "run" / "checkpoints" / "last.ckpt"
    found: dict[str, Any] = {}
    for quantization in ("none", "static"):
        folder = root / quantization
        folder.mkdir()
        options = ExportOptions(quantization=quantization, max_accuracy_loss=1.0)
        asked = Export(
            job="j",
            checkpoint=str(checkpoint),
            manifest=str(manifest),
            folder=str(folder),
            options=options,
        )
        last = export(asked, there)
        assert isinstance(last, Exported), last
        found[quantization] = _parity(checkpoint, folder / "model.onnx", manifest)
    return found


def _parity(checkpoint: Path, file: Path, manifest: Path) -> dict[str, float]:
    """Over all pictures of the test part."""
    import msgspec
    import numpy as np
    import onnxruntime
    import torch

    from inglenook.workers.studio.data.pictures import read_picture
    from inglenook.workers.studio.kept import load_kept

    kept, pipeline = load_kept(checkpoint), load_kept(checkpoint).pipeline()
    run = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    examples = [msgspec.json.decode(line, type=Example) for line in manifest.read_bytes().splitlines()]
    pixels = [pipeline(read_picture(Path(one.file))) for one in examples if one.subset == "test"]
    ours, theirs = [], []
    for start in range(0, len(pixels), BATCH):
        batch = torch.stack(pixels[start : start + BATCH])
        with torch.no_grad():
            ours.append(kept.network(batch).numpy())
        theirs.append(run.run(None, {run.get_inputs()[0].name: batch.numpy()})[0])
    checkpoint_says, file_says = np.concatenate(ours), np.concatenate(theirs)
    apart = np.abs(checkpoint_says - file_says)
    return {
        "pictures": len(pixels),
        "max_diff": float(apart.max()),
        "mean_diff": float(apart.mean()),
        "largest_logit": float(np.abs(checkpoint_says).max()),
        "agreement": float(np.mean(checkpoint_says.argmax(1) == file_says.argmax(1))),
        "file_bytes": file.stat().st_size,
    }


if __name__ == "__main__":
    main()
