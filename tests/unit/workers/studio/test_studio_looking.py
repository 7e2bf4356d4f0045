# SPDX-License-Identifier: Apache-2.0
"""What the worker says of pictures with a checkpoint: predictions, where it looked, where they lie."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from tests.studio_checkpoints import CLASSES, VAL, write_checkpoint, write_manifest, write_pictures
from tests.unit.workers.studio.bench import Bench

from inglenook.wire.message import Message
from inglenook.wire.studio.evaluation import (
    FEATURES,
    LOGITS,
    PLACES,
    Embed,
    Embedded,
    Evaluate,
    Evaluated,
    Explain,
    Explained,
    Predicted,
    WorkFailed,
    WorkStopped,
)
from inglenook.wire.studio.spec import Step

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that tells three colours apart, and 18 pictures."""
    folder = tmp_path_factory.mktemp("material")
    write_checkpoint(folder / "best.ckpt")
    write_manifest(folder / "manifest.jsonl", write_pictures(folder / "pictures"))
    return folder


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def evaluated(bench: Bench, material: Path, **changes: Any) -> Any:
    from inglenook.workers.studio.evaluation.predicting import evaluate

    work = Evaluate(
        job="job",
        task="classification",
        checkpoint=str(material / "best.ckpt"),
        manifest=str(material / "manifest.jsonl"),
        folder=str(bench.folder),
    )
    return evaluate(msgspec.structs.replace(work, **changes), bench.context)


def test_each_row_is_what_the_network_says_of_that_picture_whatever_the_batch(
    bench: Bench, material: Path
) -> None:
    import torch

    from inglenook.workers.studio.data.pictures import read_picture
    from inglenook.workers.studio.kept import load_kept

    last = evaluated(bench, material, batch_size=5)
    assert isinstance(last, Evaluated)
    assert last.classes == CLASSES
    assert last.unreadable == ()
    rows = np.load(bench.folder / LOGITS)
    assert rows.shape == (18, 3)
    kept = load_kept(material / "best.ckpt")
    for number in (0, 7, 17):
        pixels = kept.pipeline()(read_picture(material / "pictures" / f"test-{number}.png"))
        with torch.inference_mode():
            assert rows[number] == pytest.approx(kept.network(pixels[None])[0].numpy(), abs=1e-5)
    assert list(rows.argmax(axis=1)) == [number % 3 for number in range(18)]
    told = [one for one in bench.messages if isinstance(one, Predicted)]
    assert [one.done for one in told] == [5, 10, 15, 18]
    assert {one.whole for one in told} == {18}


def test_a_picture_that_cannot_be_read_is_named_and_its_row_is_nan(
    bench: Bench, material: Path, tmp_path: Path
) -> None:
    shutil.copytree(material / "pictures", tmp_path / "pictures")
    examples = write_pictures(tmp_path / "pictures")
    Path(examples[3].file).write_bytes(b"no picture")
    Path(examples[4].file).unlink()
    manifest = write_manifest(tmp_path / "some.jsonl", examples)
    last = evaluated(bench, material, manifest=str(manifest), batch_size=4)
    assert [one.id for one in last.unreadable] == ["img-test-3", "img-test-4"]
    assert all(one.reason for one in last.unreadable)
    rows = np.load(bench.folder / LOGITS)
    assert np.flatnonzero(np.isnan(rows).all(axis=1)).tolist() == [3, 4]
    assert np.isfinite(np.delete(rows, [3, 4], axis=0)).all()


def test_no_readable_picture_at_all_fails_with_the_reason(bench: Bench, material: Path) -> None:
    example = write_pictures(bench.folder / "one", each=1)[0]
    Path(example.file).write_bytes(b"")
    manifest = write_manifest(bench.folder / "one.jsonl", [example])
    last = evaluated(bench, material, manifest=str(manifest))
    assert isinstance(last, WorkFailed)
    assert last.code == "studio.no_data"
    assert not (bench.folder / LOGITS).exists()


def test_it_stops_at_the_boundary_of_a_batch_and_leaves_nothing(tmp_path: Path, material: Path) -> None:
    def stop(message: Message, bench: Bench) -> None:
        bench.stopping = isinstance(message, Predicted) and message.done >= 8

    bench = Bench(tmp_path, on=stop)
    last = evaluated(bench, material, batch_size=4)
    assert last == WorkStopped(job="job", done=8)
    assert not (tmp_path / LOGITS).exists()


class _Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("/tmp/never").joinpath, ("x",))


def test_a_checkpoint_that_is_a_pickle_with_code_is_refused_and_nothing_of_it_is_run(
    bench: Bench, material: Path
) -> None:
    harmful = bench.folder / "harmful.ckpt"
    harmful.write_bytes(pickle.dumps({"format": 1, "network": _Harmful()}))
    last = evaluated(bench, material, checkpoint=str(harmful))
    assert isinstance(last, WorkFailed)
    assert last.code == "studio.bad_checkpoint"
    cut = bench.folder / "cut.ckpt"
    cut.write_bytes((material / "best.ckpt").read_bytes()[:2000])
    assert evaluated(bench, material, checkpoint=str(cut)).code == "studio.bad_checkpoint"


def explained(bench: Bench, checkpoint: Path, file: Path, target: int | None = None) -> Any:
    from inglenook.workers.studio.evaluation.explaining import explain

    work = Explain(
        job="job",
        task="classification",
        checkpoint=str(checkpoint),
        file=str(file),
        target=target,
        output=str(bench.folder / "heat.png"),
    )
    return explain(work, bench.context)


def test_the_heat_lies_where_the_class_is(bench: Bench, material: Path) -> None:
    """Red on the left, green on the right."""
    from inglenook.workers.studio.data.pictures import read_picture
    from inglenook.workers.studio.evaluation.explaining import grad_cam
    from inglenook.workers.studio.kept import load_kept

    picture = Image.new("RGB", (40, 40), (230, 30, 30))
    picture.paste((30, 230, 30), (20, 0, 40, 40))
    picture.save(bench.folder / "both.png")
    kept = load_kept(material / "best.ckpt")
    pixels = kept.pipeline()(read_picture(bench.folder / "both.png"))[None]
    halves = []
    for target in (0, 1):
        heat = grad_cam(kept, pixels.clone(), target).map
        assert heat.min() >= 0
        assert heat.max() == pytest.approx(1)
        middle = heat.shape[1] // 2
        halves.append((heat[:, :middle].mean(), heat[:, middle:].mean()))
    (red_left, red_right), (green_left, green_right) = halves
    assert red_left > red_right
    assert green_right > green_left
    last = explained(bench, material / "best.ckpt", bench.folder / "both.png", 0)
    assert isinstance(last, Explained)
    assert sum(last.probabilities) == pytest.approx(1)
    shown = Image.open(bench.folder / "heat.png")
    assert shown.size == (40, 40)
    assert shown.tobytes() != picture.tobytes()


@pytest.mark.parametrize(
    "backbone", ["resnet18", "mobilenet_v3_small", "vit_tiny_patch16_224", "convnext_tiny"]
)
def test_every_kind_of_network_has_a_layer_with_places(bench: Bench, backbone: str) -> None:
    steps = (Step(name="Resize", params={"size": [64, 64]}), Step(name="ToImage"))
    path = write_checkpoint(bench.folder / "best.ckpt", backbone=backbone, side_px=64, steps=steps, fit=False)
    file = Path(write_pictures(bench.folder / "some", each=1)[1].file)
    last = explained(bench, path, file)
    assert isinstance(last, Explained), last
    assert last.target == int(np.argmax(last.probabilities))
    assert Image.open(bench.folder / "heat.png").size == Image.open(file).size


def test_a_class_that_is_not_there_and_a_file_that_is_no_picture_are_refused(
    bench: Bench, material: Path
) -> None:
    file = material / "pictures" / "test-0.png"
    assert explained(bench, material / "best.ckpt", file, 3).code == "studio.no_data"
    assert explained(bench, material / "best.ckpt", material / "manifest.jsonl").code == "studio.no_data"


def test_the_region_that_a_network_sees_is_followed_through_the_pipeline() -> None:
    from inglenook.workers.studio.evaluation.overlay import Region, overlay, seen_region

    seen = seen_region(VAL, 200, 100)  # 40 x 20 after the resize, of which 16 x 16 in the middle
    assert seen == Region(60, 10, 140, 90)
    assert seen_region((Step(name="Pad", params={"padding": 4}),), 50, 60) == Region(0, 0, 50, 60)
    grey = Image.new("RGB", (200, 100), (100, 100, 100))
    shown = np.asarray(overlay(grey, np.ones((4, 4), np.float32), seen))
    assert (shown[:, :60] == 100).all()
    assert (shown[20:80, 70:130] != 100).any(axis=-1).all()


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_pictures_of_a_colour_lie_side_by_side(bench: Bench, material: Path, method: str) -> None:
    from inglenook.workers.studio.evaluation.embedding import embed

    work = Embed(
        job="job",
        task="classification",
        checkpoint=str(material / "best.ckpt"),
        manifest=str(material / "manifest.jsonl"),
        folder=str(bench.folder),
        method=method,  # type: ignore[arg-type]  # one of the two
    )
    last = embed(work, bench.context)
    assert isinstance(last, Embedded)
    assert last.dimensions == 64
    assert np.load(bench.folder / FEATURES).shape == (18, 64)
    places = np.load(bench.folder / PLACES)
    assert np.abs(places).max() == pytest.approx(1)
    again = embed(work, bench.context)
    assert np.array_equal(np.load(bench.folder / PLACES), places), again
    near = [np.argsort(np.linalg.norm(places - place, axis=1))[1] for place in places]
    same = [number % 3 == other % 3 for number, other in enumerate(near)]
    assert np.mean(same) > 0.8


def test_few_pictures_are_laid_out_too_and_weights_that_are_not_here_are_said(
    bench: Bench, material: Path
) -> None:
    from inglenook.workers.studio.evaluation.embedding import embed, places

    assert places(np.ones((1, 8), np.float32), "tsne", 1).tolist() == [[0, 0]]
    assert places(np.eye(3, 8, dtype=np.float32), "tsne", 1).shape == (3, 2)
    assert not places(np.ones((9, 4), np.float32), "tsne", 1).any()
    work = Embed(
        job="job",
        task="classification",
        backbone="resnet18",
        manifest=str(material / "manifest.jsonl"),
        folder=str(bench.folder),
    )
    last = embed(work, bench.context)
    assert isinstance(last, WorkFailed)
    assert last.code == "studio.no_weights"
