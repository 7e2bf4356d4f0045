# SPDX-License-Identifier: Apache-2.0
"""The command of a child. That llama.cpp understands it: `tests/integration/test_llama_options.py`."""

from pathlib import Path

import pytest

from inglenook.engines.llamacpp.command import arguments, environment
from inglenook.engines.llamacpp.place import Place, default_threads, device_environment
from inglenook.runtime import cgroup
from inglenook.testing.devices import fake_device
from inglenook.wire.llama import Launch, LoadLanguageModel

LOAD = LoadLanguageModel(path="/m.gguf", alias="m", context=512)


def test_a_key_never_stands_in_the_arguments() -> None:
    launch = Launch(load=LOAD, port=1234, key="secret")
    assert "secret" not in " ".join(arguments(launch))
    assert environment(launch) == {"LLAMA_API_KEY": "secret"}
    assert arguments(launch)[4:8] == ["--host", "127.0.0.1", "--port", "1234"]


def test_it_is_told_to_keep_to_itself() -> None:
    given = arguments(Launch(load=LOAD, socket="/s.sock"))
    assert {"--offline", "--no-ui", "--no-mmproj"} <= set(given)
    assert not {"--props", "--tools", "--media-path", "--slot-save-path", "--agent"} & set(given)
    assert given[given.index("--fit") + 1] == "off"
    assert given[given.index("--log-verbosity") + 1] == "3", "the next level prints prompts"


@pytest.mark.parametrize(
    ("device", "name", "value"),
    [
        ("cpu", "CUDA_VISIBLE_DEVICES", ""),
        ("cpu", "HIP_VISIBLE_DEVICES", ""),
        ("cpu", "GGML_VK_VISIBLE_DEVICES", ""),
        ("cuda:2", "CUDA_VISIBLE_DEVICES", "2"),
        ("cuda:2", "GGML_VK_VISIBLE_DEVICES", ""),
        ("rocm:1", "ROCR_VISIBLE_DEVICES", "1"),
        ("rocm:1", "CUDA_VISIBLE_DEVICES", ""),
        ("vulkan:3", "GGML_VK_VISIBLE_DEVICES", "3"),
        ("cuda:0", "OMP_WAIT_POLICY", "PASSIVE"),
    ],
)
def test_a_child_sees_its_own_device_and_no_other(device: str, name: str, value: str) -> None:
    assert device_environment(fake_device(device, 10**9))[name] == value


def test_its_socket_lies_in_a_folder_for_its_user_alone_whose_path_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    place = Place.make(tmp_path / "spool")
    try:
        assert place.socket is not None
        assert len(place.socket) <= 100
        assert all(folder.stat().st_mode & 0o077 == 0 for folder in place.folders)
    finally:
        for folder in place.folders:
            folder.rmdir()


def test_without_unix_sockets_it_gets_a_port_and_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("socket.AF_UNIX")
    place = Place.make(tmp_path)
    assert place.socket is None
    assert place.port
    assert place.key
    assert len(place.key) > 30


def test_a_core_is_left_for_others_and_a_container_s_share_is_kept_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.cpu_count", lambda *, logical: 16 if logical else 8)
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(16)), raising=False)
    monkeypatch.setattr(cgroup, "processors", lambda: None)
    assert default_threads() == 7
    monkeypatch.setattr(cgroup, "processors", lambda: 4)
    assert default_threads() == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {0}, raising=False)
    assert default_threads() == 1


def test_a_control_groups_quota_is_rounded_up_and_the_least_of_the_groups_above_counts(
    tmp_path: Path,
) -> None:
    own = tmp_path / "own"
    own.write_text("0::/a/b\n")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000\n")
    (inner.parent / "cpu.max").write_text("250000 100000\n")
    assert cgroup.processors(tmp_path, own) == 3
    (inner.parent / "cpu.max").write_text("max 100000\n")
    assert cgroup.processors(tmp_path, own) is None
