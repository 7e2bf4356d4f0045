# SPDX-License-Identifier: Apache-2.0
"""What the doctor says about each part when something is wrong with it."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inglenook.base.units import GIB
from inglenook.cli import findings
from inglenook.cli.findings import Finding, Mark, ask_torch, data_folder, database, devices, models, port
from inglenook.settings import Settings, load


def settings(folder: Path, **environ: str) -> Settings:
    return load(file=None, environ={"INGLENOOK_SERVER__DATA": str(folder), **environ}).settings


def test_a_data_folder_that_is_not_there_yet_is_fine_where_it_can_be_made(tmp_path: Path) -> None:
    folder, _ = data_folder(tmp_path / "a" / "b")
    assert folder == Finding(Mark.OK, "data folder", f"{tmp_path}/a/b (made at the first start)")
    assert not (tmp_path / "a").exists()


def test_a_file_in_place_of_the_data_folder_is_told(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text("")
    (finding,) = data_folder(file / "below")
    assert finding == Finding(
        Mark.MISSING, "data folder", f"{file} is not a folder", "name another with --data"
    )


def test_a_data_folder_that_cannot_be_written_to_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[Path] = []

    def no_access(path: Path, _mode: int) -> bool:  # a mode of the file would not stop the superuser
        refused.append(path)
        return False

    monkeypatch.setattr(findings.os, "access", no_access)
    (finding,) = data_folder(tmp_path / "new")
    assert refused == [tmp_path]
    assert finding.mark is Mark.MISSING
    assert finding.text == f"{tmp_path} cannot be written to"


@pytest.mark.parametrize(("free", "mark"), [(1 * GIB, Mark.NOTE), (100 * GIB, Mark.OK)])
def test_little_room_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, mark: Mark
) -> None:
    class Usage:
        def __init__(self) -> None:
            self.free = free

    monkeypatch.setattr(findings.shutil, "disk_usage", lambda _: Usage())
    _, disk = data_folder(tmp_path)
    assert disk.mark is mark
    assert disk.text.endswith(" GiB free")


def test_a_port_that_is_free_and_one_that_is_taken_are_told_apart(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        number = other.getsockname()[1]
        taken = port(settings(tmp_path, INGLENOOK_SERVER__PORT=str(number)))
        name = f"(process {os.getpid()})"
    assert taken.mark is Mark.MISSING
    assert taken.text.startswith(f"127.0.0.1:{number} is taken by ")
    assert name in taken.text
    free = port(settings(tmp_path, INGLENOOK_SERVER__PORT="0"))
    assert free == Finding(Mark.OK, "port", "127.0.0.1:0 is free")


def test_a_database_that_does_not_answer_is_told_with_its_hint(tmp_path: Path) -> None:
    (finding,) = database(
        settings(tmp_path, INGLENOOK_STORE__DATABASE_URL="postgresql://app:swordfish@127.0.0.1:9/none")
    )
    assert finding.mark is Mark.MISSING
    assert finding.hint is not None
    assert "swordfish" not in finding.text


def test_a_database_is_not_made_by_looking_at_it(tmp_path: Path) -> None:
    (finding,) = database(settings(tmp_path))
    assert finding == Finding(Mark.OK, "database", "SQLite, made at the first start")
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_its_own_address_is_not_made_either(tmp_path: Path) -> None:
    (finding,) = database(settings(tmp_path, INGLENOOK_STORE__DATABASE_URL=f"sqlite:///{tmp_path}/x.db"))
    assert finding.text == "the configured database, made at the first start"
    assert list(tmp_path.iterdir()) == []


def test_packages_that_are_not_installed_are_named_with_the_way_to_get_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(findings, "PICTURE_PACKAGES", ("click", "no-such-package-anywhere"))
    missing, have = findings.packages()
    assert missing == Finding(
        Mark.MISSING,
        "pictures",
        "not installed: no-such-package-anywhere",
        "install them: pip install 'inglenook[pictures]'",
    )
    assert have.text.startswith("click ")


def _answering(code: str) -> Any:
    """`subprocess.run`, with another program in place of the one that imports torch."""

    def run(command: list[str], **more: Any) -> Any:
        return subprocess.run([command[0], "-c", code], **more)

    return run


def test_a_torch_that_cannot_be_imported_is_told_by_its_last_line() -> None:
    failing = _answering("import sys; sys.exit('ImportError: libcudart.so.13: cannot open')")
    assert ask_torch(failing) == "ImportError: libcudart.so.13: cannot open"
    assert ask_torch(_answering("import os; os._exit(7)")) == "the child ended with 7"


def test_a_torch_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "ASK_TORCH_TIMEOUT_S", 0.2)
    assert ask_torch(_answering("import signal; signal.pause()")) == "torch was not imported after 0 s"


def test_torch_is_asked_in_a_child_and_not_imported_here() -> None:
    before = set(sys.modules)  # other tests of this process may have imported it
    found = ask_torch(_answering('print(\'{"version": "2", "devices": ["cpu"]}\')'))
    assert found == {"version": "2", "devices": ["cpu"]}
    assert not {name for name in set(sys.modules) - before if name.partition(".")[0] == "torch"}


def test_a_device_that_torch_cannot_use_is_a_note_with_the_build_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = {"version": "2.15.0", "cuda": None, "hip": None, "devices": []}
    monkeypatch.setattr(findings, "ask_torch", lambda: torch)
    monkeypatch.setattr(findings, "_version", lambda _: "2.15.0")
    found = {finding.part: finding for finding in devices(settings(tmp_path))}
    assert found["cpu"].mark is Mark.NOTE
    assert found["cpu"].text.endswith("torch 2.15.0 (CPU only) cannot use it")


@pytest.mark.parametrize(
    ("torch", "text"),
    [
        ({"version": "2", "cuda": "13.2", "hip": None}, "2 (CUDA 13.2)"),
        ({"version": "2", "cuda": None, "hip": "7.2"}, "2 (ROCm 7.2)"),
        ({"version": "2", "cuda": None, "hip": None}, "2 (CPU only)"),
    ],
)
def test_the_build_of_torch_is_named(torch: dict[str, str | None], text: str) -> None:
    assert findings.torch_build(torch) == text


def test_a_device_in_the_settings_that_is_not_here_is_told(tmp_path: Path) -> None:
    (finding,) = devices(settings(tmp_path, INGLENOOK_RUNTIME__DEVICES="vulkan:7"))
    assert finding.mark is Mark.MISSING
    assert "'vulkan:7'" in finding.text
    assert finding.hint == "correct runtime.devices or runtime.budgets"


def test_models_are_counted_and_what_is_wrong_is_told(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "broken.safetensors").write_bytes(b"\xff" * 64)
    away = tmp_path / "away"
    folder, usable, broken = models(settings(tmp_path, INGLENOOK_MODELS__FOLDERS=str(away)))
    assert folder == Finding(
        Mark.NOTE, "models", f"the folder {away} does not exist", "correct models.folders"
    )
    assert usable.mark is Mark.OK
    assert "starter-339" in usable.text
    assert broken.mark is Mark.NOTE
    assert broken.text.startswith("broken: ")
