# SPDX-License-Identifier: Apache-2.0
"""A workspace as AI Studio leaves it on the disk, written by hand."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from tests.studio_bench import png

PROJECT = "proj-0123abcd"
WEIGHTS = b"\x80\x02}q\x00."
"""A pickle of protocol 2 with an empty dictionary: nothing but plain values."""
CODE = b"\x80\x02cos\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03."
"""A pickle that runs a program."""


def put(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")


def checkpoint(pickle: bytes) -> bytes:
    """As torch.save writes one: a zip with the pickle in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("best/data.pkl", pickle)
        archive.writestr("best/version", "3\n")
    return buffer.getvalue()


def image(filename: str, split: list[str], class_id: int, name: str) -> dict[str, Any]:
    return {
        "filename": filename,
        "width": 8,
        "height": 8,
        "split": split,
        "annotations": [{"type": "label", "class_id": class_id, "class_name": name}],
    }


def write_workspace(root: Path, *, count: int = 4) -> Path:
    """One project: `count` cats and as many dogs, two splits, an experiment that is done and one that hangs,
    an export. Each picture has other bytes.
    """
    folder = root / "projects" / PROJECT
    put(
        root / "workspace.json",
        {"version": "1.0", "created_at": "2026-01-01T00:00:00Z", "projects": [PROJECT]},
    )
    put(
        folder / "project.json",
        {
            "id": PROJECT,
            "name": "Old pets",
            "task": "classification",
            "description": "From the old machine",
            "created_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-02T00:00:00Z",
        },
    )
    images = []
    (folder / "dataset" / "images").mkdir(parents=True)
    for place in range(2 * count):
        name = ("cats", "dogs")[place % 2]
        filename = f"{name} #{place}.png"
        (folder / "dataset" / "images" / filename).write_bytes(png(8, place))
        first = ("train", "train", "val", "test")[place // 2 % 4]
        images.append(image(filename, [first, "none" if place else "train"], place % 2, name))
    put(
        folder / "dataset" / "dataset.json",
        {
            "version": "1.0",
            "id": "dataset-0123abcd",
            "task": "classification",
            "source_format": "image_folders",
            "source_path": "/somewhere",
            "imported_at": "2026-01-01T00:00:00Z",
            "classes": ["cats", "dogs"],
            "split_names": ["main", "tiny"],
            "image_stats": {},
            "images": images,
        },
    )
    _experiments(folder)
    _export(folder)
    return root


def _experiments(folder: Path) -> None:
    done = folder / "experiments" / "exp-00000001"
    put(
        done / "experiment.json",
        {
            "id": "exp-00000001",
            "name": "Experiment 1",
            "status": "completed",
            "split_name": "main",
            "best_epoch": 2,
            "best_metric": {"val_accuracy": 0.5},
        },
    )
    (done / "metrics.json").write_text('{"epochs": [{"epoch": 1, "val_loss": NaN}]}')
    put(done / "evaluation" / "evaluation.json", {"status": "completed"})
    (done / "checkpoints").mkdir()
    (done / "checkpoints" / "best.ckpt").write_bytes(checkpoint(WEIGHTS))
    (done / "checkpoints" / "last.ckpt").write_bytes(checkpoint(CODE))
    hanging = {
        "id": "exp-00000002",
        "name": "Two",
        "status": "training",
        "best_metric": {"val_accuracy": None},
    }
    put(folder / "experiments" / "exp-00000002" / "experiment.json", hanging)
    # Its index has lost the second one.
    put(folder / "experiments" / "experiments_index.json", {"version": "1.0", "experiments": []})


def _export(folder: Path) -> None:
    export = folder / "exports" / "export-00000001"
    put(
        export / "export.json",
        {
            "id": "export-00000001",
            "experiment_id": "exp-00000001",
            "format": "onnx",
            "status": "completed",
            "output_file": "model.onnx",
        },
    )
    (export / "model.onnx").write_bytes(b"onnx")
