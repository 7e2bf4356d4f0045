# SPDX-License-Identifier: Apache-2.0
"""Exports of a small trained network: what the file holds, that it says what the checkpoint says, and what is
refused."""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.studio_checkpoints import CLASSES, NORMALIZE, write_checkpoint, write_manifest, write_pictures

from inglenook.catalog.vision import read_vision
from inglenook.testing.clock import FakeClock
from inglenook.vision.preprocessing import CenterCrop, Normalize, Resize
from inglenook.wire.message import Message
from inglenook.wire.studio.export import (
    Export,
    Exported,
    ExportFailed,
    Exporting,
    ExportOptions,
    ExportStopped,
)
from inglenook.wire.studio.spec import Step

pytestmark = pytest.mark.slow

RESIZE = Step(name="Resize", params={"size": [16, 16]})


@dataclass
class Context:
    """What an export asks of its context."""

    sent: list[Message] = field(default_factory=list)
    stop_after: int = 10**6
    clock: FakeClock = field(default_factory=FakeClock)

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def should_stop(self) -> bool:
        return len(self.sent) >= self.stop_after


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, and a manifest with a test part and a training part."""
    folder = tmp_path_factory.mktemp("experiment")
    write_checkpoint(folder / "best.ckpt")
    test = write_pictures(folder / "images")
    train = write_pictures(folder / "images", subset="train")
    write_manifest(folder / "manifest.jsonl", [*train, *test])
    return folder


Run = Callable[..., Message]


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Run:
    def running(
        *,
        context: Context | None = None,
        checkpoint: Path | None = None,
        manifest: Path | None = None,
        **more: Any,
    ) -> Message:
        from inglenook.workers.studio.export.handler import export

        (tmp_path / "out").mkdir(exist_ok=True)
        format_ = more.pop("format", "onnx")
        work = Export(
            job="job",
            checkpoint=str(checkpoint or made / "best.ckpt"),
            manifest=str(manifest or made / "manifest.jsonl"),
            folder=str(tmp_path / "out"),
            format=format_,
            options=ExportOptions(**more),
            metadata={"title": "Colours", "licence": "CC0"},
            lineage={"split": "80/10/10"},
        )
        return export(work, context or Context())  # type: ignore[arg-type]  # only this of a context is used

    return running


def whole(message: Message) -> Exported:
    assert isinstance(message, Exported), message
    return message


def test_the_file_says_what_the_checkpoint_says_and_tells_where_it_is_from(run: Run, tmp_path: Path) -> None:
    context = Context()
    done = whole(run(context=context))
    assert [one.stage for one in context.sent if isinstance(one, Exporting)] == ["load", "trace", "check"]
    checked = done.validation
    assert checked.passed
    assert checked.max_diff <= checked.tolerance
    assert (checked.agreement, checked.images, checked.subset, checked.batches) == (1, 18, "test", (1, 5))
    assert [one.shape for one in checked.outputs] == [(0, 3)]
    path = tmp_path / "out" / "model.onnx"
    assert [one.name for one in path.parent.iterdir()] == ["model.onnx"]
    identity, weights = read_vision(path)
    facts = identity.vision
    assert facts is not None
    assert (facts.labels, facts.batch, facts.height, facts.opset) == (CLASSES, 0, 16, 18)
    assert facts.preprocessing.steps[:2] == (Resize(size=(20,)), CenterCrop(size=(16, 16)))
    assert isinstance(facts.preprocessing.steps[2], Normalize)
    assert (weights.title, weights.licence) == ("Colours", "CC0")
    assert 0.9 < weights.parameters / done.parameters <= 1  # batch norms are folded
    lineage = facts.lineage
    assert (lineage["project"], lineage["split"], lineage["epoch"]) == ("proj-00000001", "80/10/10", 4)
    assert (lineage["seed"], lineage["first_weights"]) == (42, "random")
    assert lineage["metrics"]["val_accuracy"] == 1.0
    text = path.read_bytes()
    assert str(Path(__file__).parents[4]).encode() not in text, "it names folders of this machine"
    assert b".py" not in text


def test_baked_preprocessing_takes_pixels_as_they_are(run: Run, tmp_path: Path) -> None:
    done = whole(run(baked_preprocessing=True))
    assert done.validation.passed
    assert (done.input_dtype, done.input_shape) == ("uint8", (0, 16, 16, 3))
    facts = read_vision(tmp_path / "out" / "model.onnx")[0].vision
    assert facts is not None
    assert (facts.layout, facts.dtype) == ("NHWC", "uint8")
    assert facts.preprocessing.raw
    assert facts.preprocessing.normalize is None


def test_a_fixed_batch_is_fixed_and_checked_with_that_many(run: Run, tmp_path: Path) -> None:
    done = whole(run(dynamic_axes=None, input_shape=(4, 3, 16, 16)))
    assert done.validation.batches == (4,)
    facts = read_vision(tmp_path / "out" / "model.onnx")[0].vision
    assert facts is not None
    assert facts.batch == 4


@pytest.mark.parametrize("opset", [17, 21])
def test_the_opset_is_what_was_asked_for_or_the_record_says_what_it_is(run: Run, opset: int) -> None:
    done = whole(run(opset_version=opset))
    assert done.opset == opset or (done.opset == 18 and f"Opset {opset} was asked for" in done.notes[0])
    assert opset < 18 or done.opset == opset


@pytest.mark.parametrize("method", ["dynamic", "static"])
def test_8_bit_integers_come_with_what_they_cost(run: Run, tmp_path: Path, method: str) -> None:
    done = whole(run(quantization=method, calibration_images=10, max_accuracy_loss=1.0))
    found = done.quantized
    assert found is not None
    assert (found.method, found.images, found.subset) == (method, 18, "test")
    assert found.accuracy_before == 1.0
    assert found.accuracy_after is not None
    assert found.size_after == done.size_bytes < found.size_before
    assert found.calibration_images == (10 if method == "static" else 0)
    assert 0 < found.max_diff <= 1
    facts = read_vision(tmp_path / "out" / "model.onnx")[0].vision
    assert facts is not None
    assert facts.quantised
    assert facts.labels == CLASSES


def test_torchscript_is_traced_and_checked_too(run: Run, tmp_path: Path) -> None:
    import torch

    done = whole(run(format="torchscript"))
    assert done.validation.passed
    assert done.file == "model.pt"
    told = {"inglenook.labels": ""}
    warnings.simplefilter("ignore", FutureWarning)  # it is deprecated, as the record says
    read = torch.jit.load(str(tmp_path / "out" / "model.pt"), _extra_files=told)
    assert json.loads(told["inglenook.labels"]) == list(CLASSES)
    assert read(torch.zeros(7, 3, 16, 16)).shape == (7, 3)


def failed(message: Message, code: str, left: Path) -> ExportFailed:
    assert isinstance(message, ExportFailed), message
    assert message.code == code, message.message
    assert list(left.iterdir()) == []
    return message


def test_a_file_that_says_something_else_is_a_failure_with_figures(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inglenook.workers.studio.export import onnx_files

    true = onnx_files.traced

    def bent(*given: Any) -> Any:
        model = true(*given)
        import onnx

        for one in model.graph.initializer:
            values = onnx.numpy_helper.to_array(one)
            if values.shape == (3,):
                one.CopyFrom(onnx.numpy_helper.from_array(values + np.float32([0, 0, 9]), one.name))
        return model

    monkeypatch.setattr(onnx_files, "traced", bent)
    last = failed(run(), "export.check_failed", tmp_path / "out")
    assert last.validation is not None
    assert last.validation.max_diff == pytest.approx(9, abs=0.1)
    assert not last.validation.passed
    assert "does not say what the checkpoint says" in last.message


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((RESIZE, Step(name="GaussianBlur", params={"kernel_size": 3}),
          Step(name="ToImage"), NORMALIZE), "GaussianBlur"),
        ((Step(name="ToImage"), RESIZE, NORMALIZE), "after ToImage"),
        ((Step(name="Resize", params={"size": [16, 16], "apply_p": 0.5}), Step(name="ToImage")),
         "only so often"),
        ((Step(name="Resize", params={"size": [16, 16], "antialias": False}), Step(name="ToImage")),
         "antialias"),
    ],
)  # fmt: skip
def test_a_pipeline_that_needs_torchvision_is_refused_by_the_name_of_its_step(
    run: Run, tmp_path: Path, steps: tuple[Step, ...], words: str
) -> None:
    checkpoint = write_checkpoint(tmp_path / "c.ckpt", steps=steps, fit=False)
    assert words in failed(run(checkpoint=checkpoint), "export.preprocessing", tmp_path / "out").message


def test_other_shapes_and_axes_are_refused(run: Run, tmp_path: Path) -> None:
    last = failed(run(input_shape=(1, 3, 32, 32)), "export.shape", tmp_path / "out")
    assert "trained on 3 x 16 x 16" in last.message
    failed(run(dynamic_axes={"input": {"2": "h"}}), "export.shape", tmp_path / "out")


def test_a_checkpoint_with_code_in_it_is_never_run(run: Run, tmp_path: Path) -> None:
    import torch

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.write_text, (tmp_path / "boom", "x"))

    torch.save({"format": 1, "network": Bomb()}, tmp_path / "evil.ckpt")
    failed(run(checkpoint=tmp_path / "evil.ckpt"), "train.bad_checkpoint", tmp_path / "out")
    assert not (tmp_path / "boom").exists()


def test_without_pictures_nothing_is_exported(run: Run, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.jsonl", [])
    failed(run(manifest=manifest), "export.no_pictures", tmp_path / "out")
    gone = write_manifest(tmp_path / "m.jsonl", write_pictures(tmp_path / "gone"))
    for file in (tmp_path / "gone").iterdir():
        file.unlink()
    failed(run(manifest=gone), "export.no_pictures", tmp_path / "out")


def test_a_stop_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    last = run(context=Context(stop_after=2))
    assert isinstance(last, ExportStopped)
    assert list((tmp_path / "out").iterdir()) == []
