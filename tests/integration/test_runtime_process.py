# SPDX-License-Identifier: Apache-2.0
"""One real child under its guard: how it starts, what it sees, how it ends, and that nothing is left."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.integration.processes import (
    QUIET,
    STUBBORN,
    WITH_GRANDCHILD,
    descriptors,
    is_gone,
    linux,
    parent_of,
    printed,
    python,
    survivors,
)

from inglenook.runtime.contracts import ChildFailed
from inglenook.runtime.process import LONGEST_LINE_BYTES, ChildProcess, Exit, ProcessState, clean_environment

GRACE_S = 0.3
WAIT_S = 60.0
LIMIT_S = 280.0
"""Of a test: some start hundreds of processes."""


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, LIMIT_S))


async def started(program: str | list[str], cwd: Path, environ: dict[str, str] | None = None) -> ChildProcess:
    return await ChildProcess.start(
        python(program) if isinstance(program, str) else program,
        name="the child",
        environ=clean_environment(os.environ, {}) if environ is None else environ,
        cwd=cwd,
        grace_s=GRACE_S,
    )


# -- ends -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("import sys; sys.exit(3)", (3, None)),
        ("pass", (0, None)),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", (None, signal.SIGSEGV)),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", (None, signal.SIGKILL)),
        ("import os; os.abort()", (None, signal.SIGABRT)),
    ],
)
def test_an_end_is_told_as_it_was(program: str, expected: tuple[Any, Any], tmp_path: Path) -> None:
    async def main() -> tuple[Exit, str]:
        child = await started(program, tmp_path)
        return await child.exited(), child.state

    end, state = run(main())
    assert (end.code, end.signal) == expected
    assert end.error is None
    assert state is ProcessState.EXITED
    assert end.peak_bytes > 1_000_000


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    async def main() -> Exit:
        return await (await started(["/nowhere/program"], tmp_path)).exited()

    assert run(main()).error == "/nowhere/program: No such file or directory"


def test_a_folder_that_is_not_there_fails_the_start(tmp_path: Path) -> None:
    before = descriptors()
    with pytest.raises(ChildFailed, match="could not be started"):
        run(started("pass", tmp_path / "nowhere"))
    assert descriptors() <= before + 1


def test_what_it_printed_last_is_kept(tmp_path: Path) -> None:
    async def main() -> tuple[str, ...]:
        program = (
            "import sys\nfor n in range(1000): print(n)\nsys.stdout.flush(); print('err', file=sys.stderr)"
        )
        child = await started(program, tmp_path)
        await child.exited()
        return child.log()

    lines = run(main())
    assert len(lines) == 200
    assert lines[-2:] == ("999", "err")


def test_a_line_without_an_end_does_not_fill_our_memory(tmp_path: Path) -> None:
    async def main() -> tuple[str, ...]:
        program = "import sys; sys.stdout.write('x' * 1_000_000); print(); print('after')"
        child = await started(program, tmp_path)
        await child.exited()
        return child.log()

    lines = run(main())
    assert lines[-1] == "after"
    assert lines[0] == f"(a line of over {LONGEST_LINE_BYTES} bytes was dropped)"
    assert len(lines) <= 3
    assert all(len(line) <= LONGEST_LINE_BYTES for line in lines)


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    async def main() -> tuple[str, ...]:
        child = await started("import os; os.write(1, b'\\xff\\xfe caf\\xc3\\xa9\\n')", tmp_path)
        await child.exited()
        return child.log()

    assert run(main()) == ("\ufffd\ufffd café",)


def test_a_child_has_the_signals_of_a_fresh_process(tmp_path: Path) -> None:
    """Python ignores SIGPIPE, and what is ignored stays so through `exec`: a native program would spin."""

    async def main() -> Exit:
        return await (await started(["/bin/sh", "-c", "kill -PIPE $$; exit 7"], tmp_path)).exited()

    assert run(main()).signal == signal.SIGPIPE


# -- stopping -------------------------------------------------------------------------------------------


def test_a_stop_ends_it_and_says_how(tmp_path: Path) -> None:
    async def main() -> None:
        child = await started(QUIET, tmp_path)
        await printed(child, "ready")
        assert child.alive
        stopping = asyncio.create_task(child.stop(WAIT_S))
        await asyncio.sleep(0)
        assert not child.alive
        assert (await stopping).how == "terminated"
        assert (await child.exited()).signal == signal.SIGTERM

    run(main())


def test_many_stops_at_once_are_one_and_one_after_the_end_says_exited(tmp_path: Path) -> None:
    async def main() -> None:
        child = await started(QUIET, tmp_path)
        receipts = await asyncio.gather(*(child.stop(WAIT_S) for _ in range(20)))
        assert len({id(receipt) for receipt in receipts}) == 1
        ended = await started("pass", tmp_path)
        await ended.exited()
        assert (await ended.stop(WAIT_S)).how == "exited"
        assert (await ended.stop(WAIT_S)).how == "exited"

    run(main())


@linux
def test_a_stop_during_start_leaves_no_child(tmp_path: Path) -> None:
    """The order to go is given before the guard has begun to run."""

    async def main() -> None:
        child = await started(STUBBORN, tmp_path)
        assert child.state is ProcessState.STARTING
        assert (await child.stop(GRACE_S)).how in ("terminated", "killed")
        assert child.pid is not None
        assert is_gone(child.pid)

    run(main())


@linux
def test_a_child_that_ignores_sigterm_is_killed_with_its_whole_group(tmp_path: Path) -> None:
    async def main() -> None:
        child = await started(WITH_GRANDCHILD, tmp_path)
        grandchild = int((await printed(child, "grandchild")).split()[1])
        assert child.pid is not None
        guard = parent_of(child.pid)
        receipt = await child.stop(WAIT_S)
        assert receipt.how == "terminated"
        assert survivors([child.pid, grandchild, guard], WAIT_S) == []

        stubborn = await started(STUBBORN, tmp_path)
        await printed(stubborn, "ready")
        receipt = await stubborn.stop(GRACE_S)
        assert receipt.how == "killed"
        assert receipt.seconds >= GRACE_S
        assert (await stubborn.exited()).signal == signal.SIGKILL

    run(main())


@linux
def test_what_a_child_leaves_behind_in_its_group_ends_with_it(tmp_path: Path) -> None:
    async def main() -> None:
        child = await started(WITH_GRANDCHILD.replace("signal.pause()\n", "sys.exit(5)\n"), tmp_path)
        grandchild = int((await printed(child, "grandchild")).split()[1])
        assert (await child.exited()).code == 5
        assert survivors([grandchild], WAIT_S) == []

    run(main())


@linux
def test_a_process_that_escaped_with_our_pipe_does_not_hold_up_the_end(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys\n"
        f"made = subprocess.Popen([sys.executable, '-I', '-S', '-c', {QUIET!r}], start_new_session=True)\n"
        "print('escaped', made.pid, flush=True)\n"
    )

    async def main() -> None:
        before = descriptors()
        child = await started(program, tmp_path)
        escaped = int((await printed(child, "escaped")).split()[1])
        try:
            assert (await child.exited()).code == 0
            assert not is_gone(escaped)
            await asyncio.sleep(0)  # transports close in the next turn of the loop
            assert descriptors() <= before
        finally:
            os.kill(escaped, signal.SIGKILL)

    run(main())


# -- guards ---------------------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_guard_that_is_killed_takes_its_child_and_grandchild_with_it(
    number: signal.Signals, tmp_path: Path
) -> None:
    async def main() -> tuple[Exit, list[int]]:
        child = await started(WITH_GRANDCHILD, tmp_path)
        grandchild = int((await printed(child, "grandchild")).split()[1])
        assert child.pid is not None
        os.kill(parent_of(child.pid), number)
        return await child.exited(), survivors([child.pid, grandchild], WAIT_S)

    end, left = run(main())
    assert end == Exit(guard_killed=True)
    assert left == []


@linux
def test_secrets_of_ours_are_not_in_the_childs_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "INGLENOOK_STORE__DATABASE_URL")
    for name in secrets:
        monkeypatch.setenv(name, "top-secret")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")

    async def main() -> tuple[bytes, bytes]:
        environ = clean_environment(os.environ, {"EXTRA": "1"})
        child = await started(QUIET, tmp_path, environ)
        await printed(child, "ready")
        assert child.pid is not None
        guard = parent_of(child.pid)
        seen = tuple(Path(f"/proc/{pid}/environ").read_bytes() for pid in (child.pid, guard))
        await child.stop(WAIT_S)
        return seen[0], seen[1]

    for environ in run(main()):
        assert b"top-secret" not in environ
        names = {entry.split(b"=")[0].decode() for entry in environ.split(b"\0")}
        assert names.isdisjoint(secrets)
        assert {"PATH", "EXTRA", "CUDA_DEVICE_ORDER"} <= names


@linux
def test_a_child_gets_no_descriptor_of_ours(tmp_path: Path) -> None:
    async def main() -> list[str]:
        with (tmp_path / "secret").open("w") as secret:
            os.set_inheritable(secret.fileno(), True)
            child = await started(["/bin/ls", "-l", "/proc/self/fd"], tmp_path)
            await child.exited()
        return [line for line in child.log() if " -> " in line]

    lines = run(main())
    assert {int(line.split(" -> ")[0].split()[-1]) for line in lines} == {0, 1, 2, 3}  # 3 is what `ls` opens
    assert not any("secret" in line for line in lines)


@linux
@pytest.mark.parametrize("times", [25, pytest.param(200, marks=pytest.mark.slow)])
def test_starting_and_stopping_leaks_no_descriptor(times: int, tmp_path: Path) -> None:
    async def main() -> tuple[int, int]:
        async def once(number: int) -> None:
            child = await started("pass" if number % 2 else QUIET, tmp_path)
            if number % 3 == 0:
                await child.stop(WAIT_S)
            else:
                await asyncio.gather(child.exited(), child.stop(WAIT_S))

        await once(0)
        before = descriptors()
        for number in range(times):
            await once(number)
        return before, descriptors()

    before, after = run(main())
    assert after <= before


@linux
def test_a_start_that_is_cancelled_leaks_neither_descriptors_nor_processes(tmp_path: Path) -> None:
    async def main() -> tuple[int, int]:
        before = 0
        for number in range(12):
            starting = asyncio.create_task(started(QUIET, tmp_path))
            for _ in range(number % 4):
                await asyncio.sleep(0)
            starting.cancel()
            (result,) = await asyncio.gather(starting, return_exceptions=True)
            if isinstance(result, ChildProcess):
                await result.stop(WAIT_S)
            if number == 3:
                before = descriptors()
        return before, descriptors()

    before, after = run(main())
    assert after <= before
