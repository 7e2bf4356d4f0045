# SPDX-License-Identifier: Apache-2.0
"""Why a child is gone, in words; and that "memory" is said only with evidence."""

import signal
from pathlib import Path

import pytest

from inglenook.runtime.exits import KernelOomCounter, classify
from inglenook.runtime.process import Exit


@pytest.mark.parametrize(
    ("end", "oom_kills", "code", "words"),
    [
        (Exit(code=3), None, "child.exited", "ended with status 3 while it drew. Its last words: bye"),
        (Exit(code=0), 5, "child.exited", "ended with status 0 while it drew"),
        (Exit(signal=11), None, "child.killed", "signal 11 (SIGSEGV) while it drew; the cause is not known"),
        (Exit(signal=9), None, "child.killed", "signal 9 (SIGKILL) while it drew; the cause is not known"),
        (Exit(signal=9), 0, "child.killed", "signal 9 (SIGKILL)"),
        (Exit(signal=11), 2, "child.killed", "signal 11 (SIGSEGV)"),
        (Exit(signal=9), 2, "child.out_of_memory", "the machine ran out of memory"),
        (Exit(signal=250), None, "child.killed", "signal 250"),
        (Exit(error="/x: No such file or directory"), None, "child.not_started", "/x: No such file"),
        (Exit(guard_killed=True), 7, "child.killed", "killed the process that guards it"),
    ],
)
def test_the_table_of_ends(end: Exit, oom_kills: int | None, code: str, words: str) -> None:
    failure = classify(end, name="m", doing="while it drew", log=("hello", "", "bye"), oom_kills=oom_kills)
    assert failure.code == code
    assert words in failure.message
    assert failure.message.startswith("m ")
    assert failure.hint
    assert failure.last_lines == ("hello", "bye")
    assert (failure.out_of_memory is not None) == (code == "child.out_of_memory")
    if failure.out_of_memory is None:
        assert "memory" not in failure.message


def test_only_the_last_lines_are_shown() -> None:
    failure = classify(Exit(code=1), name="m", doing="now", log=tuple(map(str, range(50))))
    assert failure.last_lines == ("45", "46", "47", "48", "49")


def groups(tmp_path: Path, entries: str, events: str | None, where: str = "a/b") -> KernelOomCounter:
    (tmp_path / "own").write_text(entries)
    if events is not None:
        (tmp_path / "root" / where).mkdir(parents=True)
        (tmp_path / "root" / where / "memory.events").write_text(events)
    return KernelOomCounter(tmp_path / "root", tmp_path / "own")


EVENTS = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"


def test_the_kernels_counter_of_our_own_group_is_read(tmp_path: Path) -> None:
    assert groups(tmp_path, "0::/a/b\n", EVENTS).read() == 2


def test_beside_older_hierarchies_the_line_of_version_2_counts(tmp_path: Path) -> None:
    entries = "12:memory:/other\n1:name=systemd:/other\n0::/a/b\n"
    assert groups(tmp_path, entries, EVENTS).read() == 2


@pytest.mark.parametrize(
    ("entries", "events"),
    [
        ("", EVENTS),
        ("12:memory:/a/b\n", EVENTS),
        ("nonsense", EVENTS),
        ("0::/a/b\n", None),
        ("0::/a/b\n", "oom 3\n"),
        ("0::/a/b\n", "oom_kill many\n"),
    ],
)
def test_where_the_kernel_does_not_tell_nothing_is_known(
    entries: str, events: str | None, tmp_path: Path
) -> None:
    assert groups(tmp_path, entries, events).read() is None


def test_a_system_without_control_groups_tells_nothing(tmp_path: Path) -> None:
    assert KernelOomCounter(tmp_path, tmp_path / "nowhere").read() is None


def test_every_signal_that_a_broken_build_ends_with_gets_that_hint() -> None:
    for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL):
        failure = classify(Exit(signal=number), name="m", doing="now")
        assert failure.hint is not None
        assert "build" in failure.hint
