# SPDX-License-Identifier: Apache-2.0
"""Which llama.cpp is used, with real programs that answer, crash, hang and talk nonsense."""

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from inglenook.engines.llamacpp import found
from inglenook.engines.llamacpp.found import CACHE, LlamaPrograms, Source
from inglenook.engines.llamacpp.probing import Probe, probe_library, probe_program
from inglenook.runtime.contracts import ChildFailed
from inglenook.testing import parts

NEW = """#!/bin/sh
case "$1" in
  --version) echo 'load_backend: loaded CUDA backend from /x/libggml-cuda.so' >&2
    echo 'version: 0.3.0-dev (build 10621, commit c1d0e7a00)' >&2
    echo 'built with GNU 13.3.1 for Linux x86_64' >&2;;
  --list-devices) echo 'Available devices:'
    echo '  CUDA0: NVIDIA GeForce RTX 3080 Ti (11909 MiB, 11650 MiB free)'
    echo '  CUDA1: NVIDIA RTX PRO 4000 (24026 MiB, 23795 MiB free)';;
esac
"""
OLD = """#!/bin/sh
echo 'version: 6795 (602f828b4)' >&2
echo 'built with clang version 19.1.7 (llvmorg-19.1.7-0-gcd70802) for x86_64-unknown-freebsd14.3' >&2
"""


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)
    return path


def test_a_program_tells_version_build_and_devices(tmp_path: Path) -> None:
    assert probe_program(program(tmp_path / "llama-server", NEW)) == Probe(
        version="0.3.0-dev",
        build=10621,
        builds=("CPU", "CUDA"),
        devices=("CUDA0: NVIDIA GeForce RTX 3080 Ti", "CUDA1: NVIDIA RTX PRO 4000"),
    )


def test_an_older_program_writes_its_version_otherwise(tmp_path: Path) -> None:
    assert probe_program(program(tmp_path / "llama-server", OLD)) == Probe(
        version="b6795", build=6795, builds=("CPU",)
    )


def test_libraries_beside_it_tell_the_build_where_no_device_is_found(tmp_path: Path) -> None:
    (tmp_path / "libggml-vulkan.so").touch()
    (tmp_path / "libggml-cpu-haswell.so").touch()
    (tmp_path / "libggml-base.so.0").touch()
    assert probe_program(program(tmp_path / "llama-server", OLD)).builds == ("CPU", "Vulkan")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\nkill -ILL $$\n", "was ended by signal 4, SIGILL (it was built for another processor)"),
        ("#!/bin/sh\nkill -SEGV $$\n", "was ended by signal 11, SIGSEGV"),
        ("#!/bin/sh\necho hello\n", "is no llama-server: it answers --version with 'hello'"),
        ("#!/bin/sh\nexit 0\n", "is no llama-server: it answers --version with nothing"),
        ("#!/bin/sh\necho 'no libcuda.so' >&2; exit 127\n", "ended with status 127: 'no libcuda.so'"),
        ("#!/bin/sh\nsleep 600 & sleep 600\n", "had not answered after 1.0 s"),
        ("#!/bin/sh\nwhile :; do echo y; done\n", "prints without end: 'y'"),
        ("no program at all", "cannot be run"),
        ("#!/bin/sh\n[ $1 = --version ] && echo 'version: 1 (a)' || kill -ABRT $$\n", "signal 6, SIGABRT"),
    ],
)
def test_a_broken_program_costs_a_sentence(tmp_path: Path, script: str, said: str) -> None:
    timeout_s = 1 if "after 1.0 s" in said else 60
    probe = probe_program(program(tmp_path / "llama-server", script), timeout_s=timeout_s)
    assert probe.problem is not None
    assert said in probe.problem


def test_what_is_asked_gets_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    tell = program(tmp_path / "llama-server", '#!/bin/sh\necho "token ${HF_TOKEN-none}"; exit 1\n')
    assert "'token none'" in str(probe_program(tell).problem)


@pytest.mark.slow
def test_the_package_tells_what_it_is() -> None:
    parts.require(found.library() is not None, "the package xllamacpp is not installed")
    probe = probe_library(timeout_s=120)
    assert (probe.problem, probe.builds[0]) == (None, "CPU")
    assert probe.build is not None
    assert probe.build >= 11549


class Bench:
    """A machine with as many llama.cpps as a test wants, which counts how often each is asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.engines = folder / "engines"
        self.asked: list[str] = []
        self.problems: dict[Path, str] = {}
        self.time = 0.0
        self._package: Path | None = None
        monkeypatch.setattr(found, "library", lambda: self._package)
        monkeypatch.setenv("PATH", str(folder / "bin"))

    def add(self, *places: str) -> None:
        for place in places:
            path = program(self.folder / place, OLD)
            if place == "xllamacpp.so":
                self._package = path

    def programs(self, setting: str = "auto") -> LlamaPrograms:
        def ask(path: Path) -> Probe:
            self.asked.append(path.relative_to(self.folder).as_posix())
            return Probe(version="b1", build=1, builds=("CPU",), problem=self.problems.get(path))

        return LlamaPrograms(
            setting=setting,
            engines=self.engines,
            ask=ask,
            ask_library=lambda: ask(self.folder / "xllamacpp.so"),
            now=lambda: self.time,
        )


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


EVERYWHERE = (
    "xllamacpp.so", "bin/llama-server", "engines/llama.cpp/b99/llama-server",
    "engines/llama.cpp/b100/llama-server",
)  # fmt: skip


def test_package_then_path_then_our_own_newest_first(bench: Bench) -> None:
    bench.add(*EVERYWHERE)
    found_at = [one.path.relative_to(bench.folder).as_posix() for one in bench.programs().every()]
    assert found_at == [*EVERYWHERE[:2], EVERYWHERE[3], EVERYWHERE[2]]


def test_a_half_installed_build_is_not_seen(bench: Bench) -> None:
    bench.add("engines/llama.cpp/.new-abc/llama-server", "engines/llama.cpp/b7/llama-cli")
    assert bench.programs().every() == []


@pytest.mark.parametrize(
    ("setting", "source", "launched"),
    [
        ("auto", Source.PACKAGE, None),
        ("package", Source.PACKAGE, None),
        ("path", Source.PATH, "bin/llama-server"),
        ("own", Source.OWN, "engines/llama.cpp/b100/llama-server"),
    ],
)
def test_the_setting_chooses(bench: Bench, setting: str, source: Source, launched: str | None) -> None:
    bench.add(*EVERYWHERE)
    programs = bench.programs(setting)
    assert programs.current().source is source
    assert programs.find() == (None if launched is None else bench.folder / launched)


def test_a_path_in_the_setting_is_used_and_nothing_else(bench: Bench) -> None:
    bench.add(*EVERYWHERE)
    mine = program(bench.folder / "mine" / "llama-server", OLD)
    assert bench.programs(str(mine)).find() == mine
    mine.unlink()
    with pytest.raises(ChildFailed, match=r"language\.server is .*mine/llama-server\): .* cannot be read"):
        bench.programs(str(mine)).find()


def test_one_that_cannot_be_used_is_passed_over(bench: Bench) -> None:
    bench.add(*EVERYWHERE)
    bench.problems[bench.folder / "xllamacpp.so"] = "the package xllamacpp was ended by signal 4, SIGILL"
    assert bench.programs().find() == bench.folder / "bin" / "llama-server"


def test_none_says_what_was_looked_at_and_what_to_do(bench: Bench) -> None:
    with pytest.raises(ChildFailed) as missing:
        bench.programs().find()
    assert (missing.value.code, missing.value.hint) == (
        "engine.missing", "install it: inglenook engines install llama.cpp",
    )  # fmt: skip
    bench.add("bin/llama-server")
    bench.problems[bench.folder / "bin" / "llama-server"] = "it hangs"
    with pytest.raises(ChildFailed, match=r"No llama\.cpp can be used: it hangs\."):
        bench.programs().find()


def test_an_answer_is_remembered_also_by_the_next_server_until_the_file_changes(bench: Bench) -> None:
    bench.add("bin/llama-server")
    for _ in range(3):
        bench.programs().find()
    assert bench.asked == ["bin/llama-server"]
    path = program(bench.folder / "bin" / "llama-server", NEW)
    os.utime(path, ns=(1, 1))
    bench.programs().find()
    assert len(bench.asked) == 2
    assert (bench.engines / CACHE).read_bytes().count(b"version") == 1, "the old file's answer is dropped"


def test_a_listing_asks_anew(bench: Bench) -> None:
    bench.add("bin/llama-server")
    programs = bench.programs()
    programs.find()
    programs.every(again=True)
    assert len(bench.asked) == 2


def test_a_failure_is_asked_again_after_a_minute_and_never_kept_on_disk(bench: Bench) -> None:
    bench.add("bin/llama-server")
    path = bench.folder / "bin" / "llama-server"
    bench.problems[path] = "it was busy"
    programs = bench.programs()
    for _ in range(3):
        with pytest.raises(ChildFailed):
            programs.find()
    assert len(bench.asked) == 1
    assert not (bench.engines / CACHE).exists()
    del bench.problems[path]
    bench.time = 61.0
    assert programs.find() == path


@pytest.mark.parametrize("kept", [b"", b"nonsense", b"[]", b'{"path|1": 3}', b"\xff"])
def test_a_spoilt_memory_is_asked_again(bench: Bench, kept: bytes) -> None:
    bench.add("bin/llama-server")
    bench.engines.mkdir()
    (bench.engines / CACHE).write_bytes(kept)
    assert bench.programs().find() is not None
    assert len(bench.asked) == 1


def test_many_threads_ask_one_program_once(bench: Bench) -> None:
    bench.add("bin/llama-server")
    programs = bench.programs()
    together: Callable[[], object] = programs.find
    threads = [threading.Thread(target=together) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert bench.asked == ["bin/llama-server"]


def test_a_folder_that_cannot_be_written_to_costs_only_the_memory(bench: Bench) -> None:
    bench.add("bin/llama-server")
    bench.engines.write_text("a file where a folder should be")
    assert bench.programs().find() == bench.folder / "bin" / "llama-server"
    assert stat.S_ISREG(bench.engines.stat().st_mode)
