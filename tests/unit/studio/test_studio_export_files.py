# SPDX-License-Identifier: Apache-2.0
"""What comes with an exported model: its card, and the script that prepares pictures as in training."""

import sys
import types
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from inglenook.studio.export.card import card
from inglenook.studio.export.errors import BadExport
from inglenook.studio.export.model import (
    NEXT,
    ExportRecord,
    Status,
    checkpoint_name,
    model_name,
)
from inglenook.studio.export.script import script
from inglenook.vision.applying import pixels, prepared, upright
from inglenook.vision.preprocessing import CenterCrop, Grayscale, Normalize, Preprocessing, Resize
from inglenook.wire.studio.export import ExportOptions, OutputCheck, Quantized, Validation

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LABELS = ("cat", "dog | [x](y)", "<b>")


def record(wanted: Preprocessing, **more: Any) -> ExportRecord:
    known: dict[str, Any] = {
        "id": "export-00000001",
        "experiment_id": "exp-00000001",
        "experiment_name": "First",
        "checkpoint": "best",
        "format": "onnx",
        "status": Status.COMPLETED,
        "created_at": "2026-11-26T17:00:00.000Z",
        "options": ExportOptions(),
        "output_file": "model.onnx",
        "classes": LABELS,
        "input_dtype": "float32",
        "input_shape": (0, 3, 16, 16),
        "preprocessing": msgspec.to_builtins(wanted),
        "values": {"val_accuracy": 0.875},
        "epoch": 7,
        "weights": "random",
        "pretrained": False,
        "lineage": {"project": "proj-1", "split": "a|b"},
        "validation": Validation(
            passed=True, max_diff=1e-6, mean_diff=1e-7, tolerance=1e-4, mean_tolerance=1e-5, agreement=1.0,
            images=18, subset="test", batches=(1, 5),
            outputs=(OutputCheck(name="output", shape=(0, 3), max_diff=1e-6, mean_diff=1e-7),),
        ),
    }  # fmt: skip
    return ExportRecord(**known | more)


def given_by(text: str, picture: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> np.ndarray:
    """What the script hands to the model."""
    seen: list[np.ndarray] = []

    class Session:
        def __init__(self, path: str) -> None:
            assert Path(path) == folder / "model.onnx"

        def get_modelmeta(self) -> Any:
            return types.SimpleNamespace(custom_metadata_map={"inglenook.labels": '["a", "b", "c"]'})

        def run(self, outputs: list[str], given: dict[str, np.ndarray]) -> list[np.ndarray]:
            assert outputs == ["output"]
            seen.append(given["input"])
            return [np.zeros((len(given["input"]), 3), np.float32)]

    fake: Any = types.ModuleType("onnxruntime")
    fake.InferenceSession = Session
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    monkeypatch.setattr(sys, "argv", ["predict.py", str(picture)])
    exec(
        compile(text, "predict.py", "exec"), {"__file__": str(folder / "predict.py"), "__name__": "__main__"}
    )
    return seen[0]


NORMALIZE = Normalize(mean=MEAN, std=STD)


@pytest.mark.parametrize(
    "steps",
    [
        (Resize(size=(16, 16)), NORMALIZE),
        (Resize(size=(20,)), CenterCrop(size=(16, 16)), NORMALIZE),
        (Resize(size=(20,), interpolation="bicubic", max_size=25), CenterCrop(size=(16, 16))),
        (CenterCrop(size=(61, 70)), Resize(size=(16, 16), interpolation="nearest"), NORMALIZE),
        (Grayscale(channels=3), Resize(size=(16, 16)), NORMALIZE),
        (Grayscale(channels=1), Resize(size=(16, 16)), Normalize(mean=(0.5,), std=(0.25,))),
    ],
)
@pytest.mark.parametrize("size", [(40, 31), (31, 40), (12, 90), (33, 33)])
def test_the_script_prepares_pictures_bit_for_bit_as_the_model_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: Any, size: tuple[int, int]
) -> None:
    values = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "p.png")
    wanted = Preprocessing(steps=steps)
    found = given_by(script(record(wanted)), tmp_path / "p.png", monkeypatch, tmp_path)
    assert found.dtype == np.float32
    assert np.array_equal(found[0], prepared(upright(Image.open(tmp_path / "p.png")), wanted))


def test_the_script_of_a_model_that_takes_pixels_and_of_one_with_a_fixed_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(np.arange(30 * 20 * 3, dtype=np.uint8).reshape(30, 20, 3)).save(tmp_path / "p.png")
    wanted = Preprocessing(steps=(Resize(size=(16, 16)),), raw=True)
    made = record(wanted, input_dtype="uint8", input_shape=(4, 16, 16, 3))
    found = given_by(script(made), tmp_path / "p.png", monkeypatch, tmp_path)
    assert (found.dtype, found.shape) == (np.uint8, (4, 16, 16, 3))
    assert np.array_equal(found[3], pixels(upright(Image.open(tmp_path / "p.png")), wanted))


def test_the_script_stays_short() -> None:
    text = script(record(Preprocessing(steps=(Resize(size=(256,)), CenterCrop(size=(224, 224)), NORMALIZE))))
    assert len([line for line in text.splitlines() if line and line[0] != "#"]) <= 18


def test_the_card_tells_figures_and_leaves_open_what_nobody_has_said() -> None:
    text = card(record(Preprocessing(steps=(NORMALIZE,))), project="My *project*", examples={"train": 12})
    assert "My \\*project\\*" in text
    assert "| val\\_accuracy | 0.8750 |" in text
    assert "18 pictures of the test part, 1 and 5 at a time" in text
    assert "Nobody has said so yet" in text
    assert "Its first weights were random" in text
    assert "| pictures (train) | 12 |" in text


def test_names_in_the_card_become_no_markup() -> None:
    text = card(record(Preprocessing(steps=())), project="p", examples={})
    assert "1. dog \\| \\[x\\](y)" in text
    assert "2. \\<b\\>" in text
    assert "| split | a\\|b |" in text


def test_the_card_says_what_8_bit_integers_cost_and_whose_the_first_weights_are() -> None:
    figures = Quantized(
        method="static", size_before=4_000_000, size_after=1_000_000, accuracy_before=0.9,
        accuracy_after=0.88, agreement=0.95, max_diff=0.2, mean_diff=0.01, images=50, subset="test",
        calibration_images=100,
    )  # fmt: skip
    lineage = {"weights_licence": "Apache-2.0"}
    made = record(
        Preprocessing(steps=()), quantized=figures, weights="package x", pretrained=True, lineage=lineage
    )
    text = card(made, project="p", examples={})
    assert "| accuracy after | 88.00% |" in text
    assert "published under Apache-2.0: package x" in text


@pytest.mark.parametrize("name", ["../x", "a/b", "", " ", ".hidden", "a\0b", "x" * 81, "ümlaut", "a."])
def test_names_that_could_lead_anywhere_are_no_names_of_models(name: str) -> None:
    with pytest.raises(BadExport, match="name is"):
        model_name(name)


def test_names_are_tidied() -> None:
    assert model_name("  Traffic   lights.onnx ") == "Traffic lights"
    assert checkpoint_name("best.ckpt") == "best"


@pytest.mark.parametrize("name", ["../best", "a/b", "..", "", "a b"])
def test_a_checkpoint_is_a_plain_name(name: str) -> None:
    with pytest.raises(BadExport, match="checkpoint is"):
        checkpoint_name(name)


def test_what_is_done_stays_done() -> None:
    done = record(Preprocessing(steps=()))
    assert NEXT[Status.COMPLETED] == frozenset()
    with pytest.raises(ValueError, match="may not follow"):
        done.moved(Status.RUNNING)
