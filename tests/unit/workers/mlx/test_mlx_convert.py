# SPDX-License-Identifier: Apache-2.0
"""The converter: what it writes, what it refuses, and that nothing is left of what did not succeed."""

import errno
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.mlx_models import STARTER, converted, run, wish

from inglenook.wire.mlx import MANIFEST, Converted, ConvertFailed, Converting, ConvertStopped, read_manifest
from inglenook.workers.image.errors import LoadCorrupt
from inglenook.workers.mlx.convert import writing
from inglenook.workers.mlx.files import Converted as ConvertedFiles


def tampered(folder: Path, name: str, change: Any) -> None:
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


def copy_of_starter(place: Path) -> Path:
    return shutil.copytree(STARTER, place / "source")


def test_the_manifest_names_every_file_and_what_was_converted(tmp_path: Path) -> None:
    folder = converted(STARTER, tmp_path / "mlx" / "starter", title="Starter", licence="Apache-2.0")
    manifest = read_manifest((folder / MANIFEST).read_bytes())
    assert {path.name for path in folder.iterdir()} == {*manifest.files, MANIFEST}
    for name, facts in manifest.files.items():
        data = (folder / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == facts.sha256
        assert len(data) == facts.size_bytes
    assert (manifest.family, manifest.dtype, manifest.title) == ("sd1", "float32", "Starter")
    assert (manifest.source.model, manifest.source.digest) == (
        "source",
        "d" * 64,
    ) or manifest.source.path == str(STARTER)


def test_progress_counts_bytes_to_the_end(tmp_path: Path) -> None:
    told: list[Any] = []
    assert isinstance(run(wish(STARTER, tmp_path / "a"), tell=told.append), Converted)
    assert all(isinstance(message, Converting) for message in told)
    assert [message.done for message in told] == sorted(message.done for message in told)
    assert told[-1].done == told[-1].total
    assert len(told) <= 101
    assert told[0].part == "unet"


def test_half_precision_halves_the_weights(tmp_path: Path) -> None:
    full = converted(STARTER, tmp_path / "full")
    for dtype in ("float16", "bfloat16"):
        half = converted(STARTER, tmp_path / dtype, dtype=dtype)
        sizes = [(folder / "unet.safetensors").stat().st_size for folder in (full, half)]
        assert sizes[1] < 0.55 * sizes[0]


def test_a_commit_of_a_hub_is_written_down(tmp_path: Path) -> None:
    commit = "0123456789abcdef" * 2 + "01234567"
    source = shutil.copytree(STARTER, tmp_path / "snapshots" / commit)
    folder = converted(source, tmp_path / "a")
    assert read_manifest((folder / MANIFEST).read_bytes()).source.revision == commit


def test_what_exists_is_refused_and_replaced_only_on_request(tmp_path: Path) -> None:
    folder = converted(STARTER, tmp_path / "a")
    before = (folder / MANIFEST).read_bytes()
    refused = run(wish(STARTER, folder))
    assert isinstance(refused, ConvertFailed)
    assert refused.code == "convert.exists"
    assert "--force" in refused.message
    assert (folder / MANIFEST).read_bytes() == before
    assert isinstance(run(wish(STARTER, folder, dtype="float16", replace=True)), Converted)
    assert read_manifest((folder / MANIFEST).read_bytes()).dtype == "float16"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_is_no_converted_model_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    refused = run(wish(STARTER, tmp_path / "mine", replace=True))
    assert isinstance(refused, ConvertFailed)
    assert refused.code == "convert.exists"
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize("after", [0, 1, 40])
def test_stopping_leaves_nothing(tmp_path: Path, after: int) -> None:
    left = [after]

    def should_stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    assert isinstance(run(wish(STARTER, tmp_path / "a"), should_stop=should_stop), ConvertStopped)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    refused = run(wish(STARTER, tmp_path / "a"))
    assert isinstance(refused, ConvertFailed)
    assert refused.code == "convert.disk_full"
    assert "1000 B free" in refused.message.replace(" bytes", " B")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_runs_full_meanwhile_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing, "_flush", full)
    refused = run(wish(STARTER, tmp_path / "a"))
    assert isinstance(refused, ConvertFailed)
    assert refused.code == "convert.disk_full"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("family", "flux"),
        ("dtype", "int8"),
        ("twice", "already"),
    ],
)
def test_what_cannot_be_is_refused_in_words(tmp_path: Path, what: str, words: str) -> None:
    wished = wish(STARTER, tmp_path / "b")
    if what == "family":
        wished = msgspec.structs.replace(wished, family="flux")
    elif what == "dtype":
        wished = msgspec.structs.replace(wished, dtype="int8")
    else:
        wished = msgspec.structs.replace(wished, path=str(converted(STARTER, tmp_path / "a")))
    refused = run(wished)
    assert isinstance(refused, ConvertFailed)
    assert refused.code == "convert.unsupported"
    assert words in refused.message


def test_a_network_of_another_make_is_refused_by_its_field(tmp_path: Path) -> None:
    source = copy_of_starter(tmp_path)
    config = json.loads((source / "unet" / "config.json").read_text())
    (source / "unet" / "config.json").write_text(json.dumps({**config, "class_embed_type": "timestep"}))
    refused = run(wish(source, tmp_path / "a"))
    assert isinstance(refused, ConvertFailed)
    assert (refused.code, "class_embed_type" in refused.message) == ("convert.unsupported", True)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("unet/diffusion_pytorch_model.safetensors", lambda data: data[: len(data) // 2], "safetensors"),
        ("vae/config.json", lambda data: b"{", "config.json"),
        ("unet/config.json", lambda data: data.replace(b"24,", b"32,", 1), "shape"),
        ("model_index.json", lambda data: b"[]", "model_index.json"),
    ],
)
def test_a_damaged_source_is_told_by_its_file(tmp_path: Path, file: str, change: Any, words: str) -> None:
    source = copy_of_starter(tmp_path)
    tampered(source, file, change)
    refused = run(wish(source, tmp_path / "a"))
    assert isinstance(refused, ConvertFailed)
    assert refused.code in ("convert.corrupt", "convert.unsupported")
    assert words in refused.message
    assert not (tmp_path / "a").exists()


def test_weights_as_a_pickle_are_not_opened(tmp_path: Path) -> None:
    source = copy_of_starter(tmp_path)
    weights = source / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model.bin"))
    refused = run(wish(source, tmp_path / "a"))
    assert isinstance(refused, ConvertFailed)
    assert "pickle" in refused.message
    assert (
        run(wish(weights.with_name("diffusion_pytorch_model.bin"), tmp_path / "b")).code
        == "convert.unsupported"
    )  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("unet.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1]), "SHA-256"),
        ("vae.safetensors", lambda data: data[:-1], "bytes"),
        ("scheduler.json", lambda data: data.replace(b"1.5", b"2.5"), "SHA-256"),
        (MANIFEST, lambda data: data.replace(b'"schema": 1', b'"schema": 2'), MANIFEST),
        (MANIFEST, lambda data: data.replace(b'"unet.json"', b'"../x.json"'), MANIFEST),
    ],
)
def test_a_converted_model_that_was_changed_is_not_loaded(
    tmp_path: Path, name: str, change: Any, words: str
) -> None:
    folder = converted(STARTER, tmp_path / "a")
    tampered(folder, name, change)
    with pytest.raises(LoadCorrupt, match=words) as refused:
        ConvertedFiles(folder)
    assert "convert the model again" in str(refused.value)
