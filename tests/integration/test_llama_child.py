# SPDX-License-Identifier: Apache-2.0
"""A llama.cpp child in good and bad luck: real processes without weights, and llama.cpp itself."""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.gguf_files import write_llama
from tests.llama_server import require_library, write_llama_server

from inglenook.base.ids import ModelId
from inglenook.base.journal import WORKERS, Journal
from inglenook.engines.llamacpp import place, watching
from inglenook.engines.llamacpp.child import LlamaChild
from inglenook.engines.llamacpp.engine import LOG_LINES, NAME, LlamaEngine
from inglenook.runtime.contracts import ChildFailed, LoadPlan
from inglenook.testing.devices import fake_device
from inglenook.testing.engines import PATIENCE_S, ScriptedLlamaEngine, llama_plan
from inglenook.testing.llama import ANSWER, LlamaBehaviour
from inglenook.wire.llama import Adapter, LoadLanguageModel

CPU = fake_device("cpu", 10**9)
CHAT = "/v1/chat/completions"
HANG_S = 0.3
LONG_S = 1.0
"""For a child that is well: a busy machine may keep its answer back longer than `HANG_S`."""


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 120))


@asynccontextmanager
async def started(
    tmp_path: Path,
    behaviour: LlamaBehaviour = LlamaBehaviour.NORMAL,
    *,
    hang_after_s: float = 60.0,
    stop_grace_s: float = PATIENCE_S,
    **options: Any,
) -> AsyncIterator[LlamaChild]:
    engine = ScriptedLlamaEngine(
        spool_root=tmp_path / "spool", hang_after_s=hang_after_s, stop_grace_s=stop_grace_s
    )
    child = await engine.start(llama_plan(behaviour, **options), CPU)
    try:
        yield child
    finally:
        await child.stop(0.5)
        await child.discard()
        assert list((tmp_path / "spool").iterdir()) == []


@asynccontextmanager
async def ready(
    tmp_path: Path, behaviour: LlamaBehaviour = LlamaBehaviour.NORMAL, **options: Any
) -> AsyncIterator[LlamaChild]:
    async with started(tmp_path, behaviour, **options) as child:
        await child.ready()
        yield child


@asynccontextmanager
async def asked(child: LlamaChild, *, stream: bool = True, **fields: Any) -> AsyncIterator[Any]:
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": stream, **fields}
    async with child.request("POST", CHAT, body=json.dumps(body).encode()) as reply:
        yield reply


async def get(child: LlamaChild, path: str) -> Any:
    async with child.request("GET", path) as reply:
        return json.loads(await reply.read())


async def go(child: LlamaChild) -> None:
    async with child.request("POST", "/go") as reply:
        await reply.read()


async def failure_of(content: AsyncIterator[bytes]) -> tuple[bytes, ChildFailed]:
    """What came before it failed, and how it failed."""
    parts = []
    try:
        async for part in content:
            parts.append(part)
    except ChildFailed as failed:
        return b"".join(parts), failed
    raise AssertionError("it ended as if it were whole")


def test_a_stream_is_passed_on_byte_by_byte_to_its_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with ready(tmp_path) as child, asked(child) as reply:
            assert reply.status == 200
            assert reply.headers == {"content-type": "text/event-stream"}
            told = (await reply.read()).decode()
            assert told.endswith("data: [DONE]\n\n")
            deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in told.split("\n\n")[:-2]]
            assert "".join(delta.get("content") or "" for delta in deltas) == "".join(ANSWER)

    run(main())


def test_what_is_sent_arrives_unchanged_and_a_refusal_comes_back_with_its_status(tmp_path: Path) -> None:
    async def main() -> None:
        async with ready(tmp_path) as child:
            body = json.dumps(
                {"messages": [], "n": 2, "grammar": 'root ::= "ä"', "script": "refuses"}
            ).encode()
            async with child.request("POST", CHAT, body=body, headers={"x-trace": "1"}) as reply:
                assert reply.status == 400
                assert json.loads(await reply.read())["error"]["type"] == "exceed_context_size_error"
            got = (await get(child, "/asked"))[-1]
            assert got["body"] == json.loads(body)
            assert got["headers"]["x-trace"] == "1"
            assert child.alive

    run(main())


def test_fifty_at_once_are_all_answered(tmp_path: Path) -> None:
    """More than llama.cpp lets wait for a connection: the rest waits on our side."""

    async def one(child: LlamaChild) -> bytes:
        async with asked(child, stream=False) as reply:
            return await reply.read()

    async def main() -> None:
        async with ready(tmp_path) as child:
            answers = await asyncio.gather(*(one(child) for _ in range(50)))
            assert all(json.loads(answer)["choices"] for answer in answers)

    run(main())


@pytest.mark.parametrize(
    ("behaviour", "code", "said"),
    [
        (LlamaBehaviour.DIES_IN_STREAM, "child.killed", "signal 11 (SIGSEGV) while it answered"),
        (LlamaBehaviour.OUT_OF_MEMORY_AT_WORK, "child.out_of_memory", "cudaMalloc failed: out of memory"),
    ],
)
def test_one_that_dies_in_mid_stream_ends_the_answer_with_its_cause(
    tmp_path: Path, behaviour: LlamaBehaviour, code: str, said: str
) -> None:
    async def main() -> None:
        async with ready(tmp_path, behaviour) as child, asked(child) as reply:
            before, failed = await failure_of(reply.content)
            assert b"Once" in before
            assert failed.code == code
            assert said in failed.message
            assert not child.alive
            assert await child.exited() == failed.failure, "everybody is told the same"

    run(main())


def test_everybody_who_waits_for_an_answer_is_told_when_it_dies(tmp_path: Path) -> None:
    begun: list[str] = []

    async def one(child: LlamaChild, script: str) -> str:
        async with asked(child, script=script) as reply:
            begun.append(script)
            return (await failure_of(reply.content))[1].code

    async def main() -> None:
        async with ready(tmp_path) as child:
            waiting = [asyncio.create_task(one(child, "waits")) for _ in range(3)]
            while len(begun) < 3:
                await asyncio.sleep(0.001)
            assert await one(child, "dies_in_stream") == "child.killed"
            assert await asyncio.gather(*waiting) == ["child.killed"] * 3
            with pytest.raises(ChildFailed) as failed:
                await get(child, "/health")
            assert failed.value.code == "child.killed"

    run(main())


def test_an_answer_that_is_broken_off_is_a_failure_and_the_child_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        # For so long it may yet be gone.
        async with ready(tmp_path, stop_grace_s=0.5) as child:
            async with asked(child, script="cuts_off") as reply:
                _, failed = await failure_of(reply.content)
            assert failed.code == "child.cut_off"
            assert child.alive
            async with asked(child, stream=False) as reply:
                assert reply.status == 200

    run(main())


def test_a_request_in_flight_is_told_that_the_child_was_stopped(tmp_path: Path) -> None:
    async def main() -> None:
        async with ready(tmp_path, LlamaBehaviour.WAITS) as child, asked(child) as reply:
            content = aiter(reply.content)
            assert b"data:" in await anext(content)
            stopping = asyncio.create_task(child.stop(0.5))
            _, failed = await failure_of(content)
            assert failed.code == "child.stopped"
            assert not child.alive
            await stopping
            assert await child.exited() is None

    run(main())


def test_one_that_hangs_is_ended_and_said_to_have_hung(tmp_path: Path) -> None:
    async def main() -> None:
        async with ready(tmp_path, LlamaBehaviour.HANGS, hang_after_s=LONG_S) as child, asked(child) as reply:
            _, failed = await failure_of(reply.content)
            assert failed.code == "child.hung"
            assert "it was ended" in failed.message
            assert not child.alive
            assert await child.exited() == failed.failure

    run(main())


def test_one_that_only_waits_long_before_a_token_is_not_ended(tmp_path: Path) -> None:
    """Its stream's own signs of life count for nothing; that it answers for its slots does."""

    async def main() -> None:
        async with ready(tmp_path, LlamaBehaviour.PINGS, hang_after_s=LONG_S) as child, asked(child) as reply:
            while await get(child, "/probed") < 2 * watching.LOOKS:
                await asyncio.sleep(LONG_S / 20)
            assert child.alive
            await go(child)
            assert (await reply.read()).endswith(b"data: [DONE]\n\n")

    run(main())


def test_one_that_computes_is_given_more_time_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not even answer for its slots: a long batch, or a loop without an end."""
    monkeypatch.setattr(watching, "BUSY", 4)
    told: list[float] = []

    async def main() -> None:
        async with (
            ready(tmp_path, LlamaBehaviour.COMPUTES, hang_after_s=HANG_S) as child,
            asked(child) as reply,
        ):
            began_s = asyncio.get_running_loop().time()
            _, failed = await failure_of(reply.content)
            told.append(asyncio.get_running_loop().time() - began_s)
            assert failed.code == "child.hung"

    run(main())
    assert told[0] >= 4 * HANG_S * 0.9, "it was ended although it computed"


def test_leaving_before_the_end_stops_the_generation(tmp_path: Path) -> None:
    async def main() -> None:
        async with ready(tmp_path, LlamaBehaviour.WAITS) as child:
            async with asked(child) as reply:
                await anext(aiter(reply.content))
            while await get(child, "/given-up") == 0:
                pass
            while any(slot["is_processing"] for slot in await get(child, "/slots")):
                pass
            assert child.alive

    run(main())


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (LlamaBehaviour.OUT_OF_MEMORY, "load.out_of_memory"),
        (LlamaBehaviour.CORRUPT, "load.corrupt"),
        (LlamaBehaviour.EXIT_AT_START, "child.exited"),
    ],
)
def test_one_that_cannot_load_says_why(tmp_path: Path, behaviour: LlamaBehaviour, code: str) -> None:
    async def main() -> None:
        async with started(tmp_path, behaviour) as child:
            with pytest.raises(ChildFailed) as failed:
                await child.ready()
            assert failed.value.code == code
            assert (failed.value.failure.out_of_memory is not None) == (code == "load.out_of_memory")
            assert await child.exited() == failed.value.failure

    run(main())


@pytest.mark.parametrize("behaviour", [LlamaBehaviour.NEVER_READY, LlamaBehaviour.NO_FIRST_TOKEN])
def test_one_that_never_gives_a_first_token_is_ended_with_its_last_lines(
    tmp_path: Path, behaviour: LlamaBehaviour
) -> None:
    async def main() -> None:
        engine = ScriptedLlamaEngine(spool_root=tmp_path / "spool", start_timeout_s=2.0)
        child = await engine.start(llama_plan(behaviour), CPU)
        async with asyncio.timeout(60):  # it may need longer to begin than it is given to get ready
            while not any("loading model" in line for line in child.log()):
                await asyncio.sleep(0.01)
        with pytest.raises(ChildFailed) as failed:
            await child.ready()
        assert failed.value.code == "child.never_ready"
        assert any("loading model" in line for line in failed.value.failure.last_lines)
        assert not child.alive
        assert await child.exited() == failed.value.failure
        await child.discard()

    run(main())


def test_its_lines_reach_the_journal_with_their_level_and_the_models_name(tmp_path: Path) -> None:
    async def main() -> tuple[str, ...]:
        async with started(tmp_path, LlamaBehaviour.OUT_OF_MEMORY, model="tiny") as child:
            with pytest.raises(ChildFailed):
                await child.ready()
            return child.log()

    journal, workers = Journal(), logging.getLogger(WORKERS)
    workers.addHandler(journal)
    before = workers.level
    workers.setLevel(logging.INFO)
    try:
        run(main())
    finally:
        workers.removeHandler(journal)
        workers.setLevel(before)
    errors = journal.lines(level="error", child="tiny")
    assert any("cudaMalloc failed" in line.text for line in errors)
    assert {line.level for line in journal.lines(child="tiny")} == {"info", "error"}
    assert journal.lines(child="another") == []


def test_many_of_its_lines_are_kept(tmp_path: Path) -> None:
    async def main() -> None:
        async with ready(tmp_path, LlamaBehaviour.CHATTY) as child:
            async with asyncio.timeout(60):
                while len(child.log()) < LOG_LINES:
                    await asyncio.sleep(0.001)
            assert LOG_LINES > 200

    run(main())


def test_a_model_that_is_loaded_twice_has_two_places_and_leaves_none(tmp_path: Path) -> None:
    async def main() -> None:
        async with ready(tmp_path / "a") as one, ready(tmp_path / "b") as other:
            folders = {*one._folders, *other._folders}
            assert len(folders) == 4
            assert all(folder.stat().st_mode & 0o077 == 0 for folder in folders)
        assert not any(folder.exists() for folder in folders)

    run(main())


def test_over_tcp_only_who_has_the_key_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "SOCKET_PATH_BYTES", 0)

    async def main() -> None:
        async with ready(tmp_path) as child:
            assert await get(child, "/slots")
            assert await status_without_key(child) == 401

    run(main())


async def status_without_key(child: LlamaChild) -> int:
    port = child._address.port
    assert port is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /slots HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])


# -- llama.cpp itself ------------------------------------------------------------------------------------


@asynccontextmanager
async def real(
    tmp_path: Path, model: Path, *, program: Path | None = None, **options: Any
) -> AsyncIterator[LlamaChild]:
    require_library()
    engine = LlamaEngine(
        spool_root=tmp_path / "spool",
        find=lambda: program,
        start_timeout_s=90.0,
        stop_grace_s=PATIENCE_S,
        threads=1,
    )
    load = LoadLanguageModel(**({"path": str(model), "alias": "m", "context": 512} | options))
    child = await engine.start(LoadPlan(ModelId("m"), NAME, {"cpu": 1}, options={"load": load}), CPU)
    try:
        yield child
    finally:
        await child.stop(1.0)
        await child.discard()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["launcher", "program"])
def test_llama_cpp_over_tcp_answers_only_who_has_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(place, "SOCKET_PATH_BYTES", 0)

    async def main() -> None:
        program = write_llama_server(tmp_path) if how == "program" else None
        async with real(tmp_path, write_llama(tmp_path / "m.gguf"), program=program) as child:
            await child.ready()
            assert await get(child, "/slots")
            assert await status_without_key(child) == 401
            assert b"Bearer" not in b"".join(line.encode() for line in child.log())

    run(main())


@pytest.mark.slow
def test_llama_cpp_stops_at_once_when_its_answer_is_left(tmp_path: Path, chat_model: Path) -> None:
    """1,500 tokens would take it half a minute."""

    async def main() -> None:
        async with real(tmp_path, chat_model, context=2048) as child:
            await child.ready()
            body = {"prompt": "Once upon a time", "n_predict": 1500, "ignore_eos": True, "stream": True}
            async with child.request("POST", "/completion", body=json.dumps(body).encode()) as reply:
                content = aiter(reply.content)
                await anext(content)
                await anext(content)
                (slot,) = await get(child, "/slots")
                assert slot["is_processing"]
            while (slot := (await get(child, "/slots"))[0])["is_processing"]:
                pass
            assert slot["next_token"][0]["n_decoded"] < 100

    run(main())


@pytest.mark.slow
def test_llama_cpp_that_is_killed_in_mid_stream_fails_the_answer(tmp_path: Path, chat_model: Path) -> None:
    async def main() -> None:
        async with real(tmp_path, chat_model) as child:
            await child.ready()
            body = {"prompt": "Once upon a time", "n_predict": 400, "ignore_eos": True, "stream": True}
            async with child.request("POST", "/completion", body=json.dumps(body).encode()) as reply:
                content = aiter(reply.content)
                await anext(content)
                (pid,) = child.pids
                os.kill(pid, 9)
                _, failed = await failure_of(content)
            assert failed.code == "child.killed"
            assert "SIGKILL" in failed.message

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("how", ["launcher", "program"])
def test_llama_cpp_says_what_is_wrong_with_a_file(tmp_path: Path, how: str) -> None:
    async def why(path: Path, **options: Any) -> ChildFailed:
        program = write_llama_server(tmp_path) if how == "program" else None
        async with real(tmp_path, path, program=program, **options) as child:
            with pytest.raises(ChildFailed) as failed:
                await child.ready()
            return failed.value

    async def main() -> None:
        good = write_llama(tmp_path / "m.gguf").read_bytes()
        cases = {
            "load.corrupt": {"cut": good[: len(good) // 2], "magic": b"NOPE" + good[4:], "empty": b""},
            "load.unsupported": {"strange": good.replace(b"llama", b"lzama", 1)},
        }
        for code, files in cases.items():
            for name, data in files.items():
                path = tmp_path / f"{name}.gguf"
                path.write_bytes(data)
                failed = await why(path)
                assert failed.code == code, name
                assert failed.hint
        assert (await why(tmp_path / "nowhere.gguf")).code == "load.missing"
        failed = await why(tmp_path / "m.gguf", loras=(Adapter(path=str(tmp_path / "cut.gguf")),))
        assert failed.message.startswith(f"The lora adapter {tmp_path / 'cut.gguf'} of m could not")

    run(main())


@pytest.mark.slow
def test_llama_cpp_that_may_not_have_the_memory_for_its_context_says_so_with_the_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit on its address space stands for a machine that has no more."""
    require_library()
    limited = tmp_path / "llama-server"
    inner = tmp_path / "inner"
    inner.mkdir()
    program = write_llama_server(inner)
    limited.write_text(f'#!/bin/sh\nulimit -v 2000000\nexec {program} "$@"\n')
    limited.chmod(0o755)

    async def main() -> None:
        async with real(
            tmp_path, write_llama(tmp_path / "m.gguf"), program=limited, context=5_000_000
        ) as child:
            with pytest.raises(ChildFailed) as failed:
                await child.ready()
            evidence = failed.value.failure.out_of_memory
            assert failed.value.code == "load.out_of_memory"
            assert evidence is not None
            assert evidence.requested_bytes is not None
            assert evidence.requested_bytes > 2_000_000_000
            assert "allocate" in failed.value.message

    run(main())
