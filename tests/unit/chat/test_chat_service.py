# SPDX-License-Identifier: Apache-2.0
"""One exchange and what comes before and after it: waiting, slots, retrying, keeping, pinning, unloading."""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.gguf_files import write_llama, write_projector
from tests.unit.chat.bench import Bench, bench, write_models
from tests.unit.runtime.bench import run, until

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.ids import OWNER, PersonId
from inglenook.catalog.model import LanguageTask
from inglenook.chat.errors import NotLoaded
from inglenook.chat.exchange import Exchange, Usage
from inglenook.chat.model import Defaults
from inglenook.runtime.contracts import ChildFailed
from inglenook.runtime.scheduler.loop import LeaseStopped
from inglenook.runtime.scheduler.policy import Rules
from inglenook.store.database import Database
from inglenook.testing.engines import failed_to_load
from inglenook.testing.language import Script


async def read(exchange: Exchange) -> bytes:
    async with exchange.request("POST", "/v1/chat/completions", body=b"{}") as reply:
        return await reply.read()


# -- asking ---------------------------------------------------------------------------------------------


def test_an_answer_comes_through_unchanged_and_the_lease_is_given_back(
    models: Path, sqlite: Database
) -> None:
    async def main() -> None:
        async with bench(models, sqlite) as b:
            async with b.exchange() as exchange:
                assert await read(exchange) == b"hello there"
                assert b.chat.state(b.model()).leases == 1
            await b.settled()
            state = b.chat.state(b.model())
            assert (state.state, state.leases, state.away_s) == ("ready", 0, 0.0)
            assert b.engine.asked == [("POST", "/v1/chat/completions", b"{}")]

    run(main())


def test_as_many_are_served_at_once_as_the_model_has_slots(models: Path, sqlite: Database) -> None:
    async def main() -> None:
        async with (
            bench(models, sqlite, defaults=Defaults(context=512, parallel=2)) as b,
            b.exchange(),
            b.exchange(),
        ):
            waiting = asyncio.ensure_future(b.exchange().__aenter__())
            await b.settled()
            assert not waiting.done()
            assert b.chat.state(b.model()).waiting == 1
            waiting.cancel()

    run(main())


def test_whoever_waits_is_told_why(models: Path, sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told for the first time at once here: the pauses are set to nothing."""
    monkeypatch.setattr("inglenook.runtime.scheduler.waiting.FIRST_TOLD_S", 0.0)
    monkeypatch.setattr("inglenook.runtime.scheduler.waiting.TOLD_EVERY_S", 0.0)
    told: list[Mapping[str, Any]] = []

    async def hear(explanation: Mapping[str, Any]) -> None:
        told.append(explanation)

    async def main() -> None:
        async with bench(models, sqlite, auto=False) as b:
            asking = asyncio.ensure_future(b.exchange(hear=hear).__aenter__())
            await until(lambda: any(one["reason"]["kind"] == "loading" for one in told))
            assert told[-1]["reason"]["text"].startswith("chat is being loaded, for 0.0 s of about")
            assert told[-1]["position"] == 1
            b.engine.of("chat").load()
            (await asking).release()

    run(main())


def test_a_listener_that_fails_ends_the_wait_and_leaves_the_queue(
    models: Path, sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inglenook.runtime.scheduler.waiting.FIRST_TOLD_S", 0.0)

    async def hear(_: Mapping[str, Any]) -> None:
        raise ConnectionResetError

    async def main() -> None:
        async with bench(models, sqlite, auto=False) as b:
            with pytest.raises(ConnectionResetError):
                async with b.exchange(hear=hear):
                    raise AssertionError("it was never loaded")
            await b.settled()
            assert b.chat.state(b.model()).waiting == 0

    run(main())


def test_whoever_leaves_while_waiting_holds_nothing(models: Path, sqlite: Database) -> None:
    async def main() -> None:
        async with bench(models, sqlite, auto=False) as b:
            stop = StopToken()
            asking = asyncio.ensure_future(b.exchange(stop=stop).__aenter__())
            await until(lambda: b.engine.children)
            stop.stop(StopReason.CLIENT_GONE)
            with pytest.raises(LeaseStopped):
                await asking
            cancelled = asyncio.ensure_future(b.exchange().__aenter__())
            await b.settled()
            cancelled.cancel()
            await asyncio.gather(cancelled, return_exceptions=True)
            b.engine.of("chat").load()
            await b.becomes("chat", "ready")
            await b.settled()
            state = b.chat.state(b.model())
            assert (state.leases, state.waiting) == (0, 0)

    run(main())


# -- a child that dies ----------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [Script(before_reply=True), Script(parts=(), dies=True)])
def test_a_child_that_dies_before_its_first_byte_is_replaced_once(
    models: Path, sqlite: Database, script: Script
) -> None:
    async def main() -> None:
        async with bench(models, sqlite) as b:
            b.engine.scripts = [script]
            answering = asyncio.ensure_future(_answer(b))
            await until(lambda: b.chat.state(b.model()).state == "failed")
            assert "signal 11" in str(b.chat.state(b.model()).problem)
            await b.advance(1.0)  # the back-off
            assert await answering == (b"hello there", True)
            assert b.engine.started() == ["chat", "chat"]
            await b.settled()
            assert b.chat.state(b.model()).leases == 0
            assert b.chat.counters()[b.model().id].failures == 0

    run(main())


def test_a_child_that_dies_twice_before_its_first_byte_is_not_replaced_again(
    models: Path, sqlite: Database
) -> None:
    async def main() -> None:
        async with bench(models, sqlite) as b:
            b.engine.scripts = [Script(before_reply=True), Script(before_reply=True)]
            answering = asyncio.ensure_future(_answer(b))
            await until(lambda: b.chat.state(b.model()).state == "failed")
            await b.advance(1.0)
            with pytest.raises(ChildFailed, match="signal 11"):
                await answering
            assert b.engine.started() == ["chat", "chat"]
            assert b.chat.counters()[b.model().id].failures == 1

    run(main())


def test_after_a_byte_was_sent_nothing_is_asked_again(models: Path, sqlite: Database) -> None:
    got: list[bytes] = []

    async def main() -> None:
        async with bench(models, sqlite) as b:
            b.engine.scripts = [Script(parts=(b"half",), dies=True)]
            with pytest.raises(ChildFailed):
                await _into(got, b)
            assert got == [b"half"]
            assert len(b.engine.asked) == 1

    run(main())


def test_whoever_has_left_is_not_given_another_child(models: Path, sqlite: Database) -> None:
    async def main() -> None:
        async with bench(models, sqlite) as b:
            b.engine.scripts = [Script(before_reply=True)]
            stop = StopToken()
            async with b.exchange(stop=stop) as exchange:
                stop.stop(StopReason.CLIENT_GONE)
                with pytest.raises(ChildFailed):
                    await read(exchange)

    run(main())


async def _into(got: list[bytes], b: Bench) -> None:
    async with b.exchange() as exchange, exchange.request("POST", "/x") as reply:
        async for part in reply.content:
            got.append(part)


async def _answer(b: Bench) -> tuple[bytes, bool]:
    async with b.exchange() as exchange:
        return await read(exchange), exchange.retried


# -- keeping --------------------------------------------------------------------------------------------


def test_a_model_is_kept_as_the_request_says_then_as_its_options_say_then_as_the_settings_say(
    models: Path, sqlite: Database
) -> None:
    async def main() -> None:
        async with bench(models, sqlite, rules=Rules(idle_unload_s=300.0)) as b:
            async with b.exchange():
                pass
            await b.settled()
            assert b.chat.state(b.model()).unload_in_s == 300.0
            await b.chat.set_options(b.model(), {"keep_s": 40}, person=OWNER)
            await b.settled()
            assert b.chat.state(b.model()).unload_in_s == 40.0
            async with b.exchange(keep_s=7.0):
                assert b.chat.state(b.model()).unload_in_s is None
            await b.settled()
            assert b.chat.state(b.model()).unload_in_s == 7.0
            async with b.exchange(keep_s=-1):
                pass
            await b.settled()
            state = b.chat.state(b.model())
            assert (state.keep_s, state.unload_in_s) == (-1.0, None)
            async with b.exchange(keep_s=0):
                assert b.chat.state(b.model()).state == "ready"
            await b.becomes("chat", "unloaded")
            assert b.chat.state(b.model()).keep_s == 40.0

    run(main())


def test_pins_and_keeping_hold_over_a_restart_and_for_models_of_every_kind(
    models: Path, sqlite: Database
) -> None:
    async def main() -> None:
        async with bench(models, sqlite) as b:
            assert (await b.chat.pin(b.model(), True, person=OWNER)).pinned
        async with bench(models, sqlite, rules=Rules(idle_unload_s=1.0)) as b:
            async with b.exchange():
                pass
            await b.advance(1000.0)
            assert b.chat.state(b.model()).pinned
            assert b.chat.state(b.model()).state == "ready"
            await b.chat.pin(b.model(), False, person=OWNER)
            await b.advance(1000.0)
            assert b.chat.state(b.model()).state == "unloaded"

    run(main())


def test_a_pin_of_the_settings_can_be_taken_away_and_comes_back_with_a_reset(
    models: Path, sqlite: Database
) -> None:
    async def main() -> None:
        async with bench(models, sqlite, pinned=frozenset({"chat"})) as b:
            assert b.chat.state(b.model()).pinned
            await b.chat.pin(b.model(), False, person=OWNER)
            assert not b.chat.state(b.model()).pinned
            await b.chat.reset_options(b.model(), person=OWNER)
            assert b.chat.state(b.model()).pinned

    run(main())


# -- loading and unloading ------------------------------------------------------------------------------


def test_a_model_is_loaded_before_anybody_asks_and_only_once(models: Path, sqlite: Database) -> None:
    async def main() -> None:
        async with bench(models, sqlite, auto=False) as b:
            loading = asyncio.ensure_future(
                b.chat.preload(b.model(), person=OWNER, stop=StopToken(), keep_s=60)
            )
            await until(lambda: b.engine.children)
            state = b.chat.state(b.model())
            assert (state.state, state.since_s) == ("loading", 0.0)
            assert state.expected_load_s is not None
            assert state.away_s == pytest.approx(state.expected_load_s, abs=0.001)
            b.engine.of("chat").load()
            assert (await loading).state == "ready"
            again = await b.chat.preload(b.model(), person=OWNER, stop=StopToken(), keep_s=5)
            await b.settled()
            assert again.state == "ready"
            assert b.chat.state(b.model()).unload_in_s == 5.0
            assert b.engine.started() == ["chat"]

    run(main())


def test_a_load_that_fails_says_why_and_so_does_the_state(models: Path, sqlite: Database) -> None:
    async def main() -> None:
        async with bench(models, sqlite, auto=False) as b:
            loading = asyncio.ensure_future(b.chat.preload(b.model(), person=OWNER, stop=StopToken()))
            await until(lambda: b.engine.children)
            b.engine.of("chat").fail(failed_to_load("its header is a poem"))
            with pytest.raises(ChildFailed, match="a poem"):
                await loading
            state = b.chat.state(b.model())
            assert (state.state, state.problem) == ("failed", "its header is a poem")

    run(main())


def test_unloading_in_the_middle_of_a_stream_never_cuts_it_off(models: Path, sqlite: Database) -> None:
    async def main() -> None:
        async with bench(models, sqlite) as b:
            b.engine.scripts = [Script(parts=(b"a", b"b", b"c"))]
            async with b.exchange() as exchange, exchange.request("POST", "/x") as reply:
                content = aiter(reply.content)
                assert await anext(content) == b"a"
                state = await b.chat.unload(b.model())
                assert (state.state, state.leaving, state.leases) == ("ready", True, 1)
                later = asyncio.ensure_future(_answer(b))
                await b.settled()
                assert not later.done()
                assert [part async for part in content] == [b"b", b"c"]
            assert await later == (b"hello there", False)
            assert b.engine.started() == ["chat", "chat"]

    run(main())


def test_what_is_idle_is_unloaded_now_and_what_is_not_loaded_is_said_not_to_be(
    models: Path, sqlite: Database
) -> None:
    async def main() -> None:
        async with bench(models, sqlite) as b:
            with pytest.raises(NotLoaded, match="chat is not loaded"):
                await b.chat.unload(b.model())
            await b.chat.preload(b.model(), person=OWNER, stop=StopToken())
            await b.settled()
            assert (await b.chat.unload(b.model())).state in ("unloading", "unloaded")
            await b.becomes("chat", "unloaded")

    run(main())


def test_two_models_over_a_limit_of_one_asked_at_once_are_both_served_and_never_both_loaded(
    models: Path, sqlite: Database
) -> None:
    most = 0

    async def ask(b: Bench, name: str, person: str) -> None:
        nonlocal most
        async with b.exchange(name, person=PersonId(person)) as exchange:
            most = max(most, len(b.engine.living))
            assert await read(exchange) == b"hello there"

    async def main() -> None:
        async with bench(models, sqlite, rules=Rules(max_loaded=1, patience_s=0.0)) as b:
            asked = [ask(b, ("chat", "group/other")[n % 2], f"p{n}") for n in range(12)]
            answering = asyncio.gather(*asked)
            while not answering.done():
                await b.advance(1.0)
                most_now = len(b.scheduler.residents())
                assert most_now <= 1
            await answering
            assert most == 1

    run(main())


# -- how it is loaded -----------------------------------------------------------------------------------


def test_options_of_loading_work_from_the_next_load_on_and_are_named_until_then(
    models: Path, sqlite: Database
) -> None:
    async def main() -> None:
        async with bench(models, sqlite) as b:
            async with b.exchange() as exchange:
                assert exchange.load.context == 512
            await b.chat.set_options(b.model(), {"context": 768, "temperature": 0.5}, person=OWNER)
            assert b.chat.state(b.model()).stale == ("context",)
            assert b.chat.defaults_for(b.model()) == {"temperature": 0.5}
            async with b.exchange() as exchange:
                assert exchange.load.context == 512
            await b.settled()
            await b.chat.unload(b.model())
            async with b.exchange() as exchange:
                assert exchange.load.context == 768
            assert b.chat.state(b.model()).stale == ()

    run(main())


def test_a_model_sees_by_what_its_options_name_else_by_what_lies_beside_it(
    tmp_path: Path, sqlite: Database
) -> None:
    models = write_models(tmp_path / "models")
    eyes = models / "eyes"
    eyes.mkdir()
    write_llama(eyes / "seer.gguf")
    write_projector(eyes / "mmproj-seer.gguf")

    async def main() -> None:
        async with bench(models, sqlite) as b:
            seer, blind = b.model("eyes/seer"), b.model("chat")
            assert b.chat.sees(seer)
            assert not b.chat.sees(blind)
            await b.chat.set_options(seer, {"mmproj": "none"}, person=OWNER)
            assert not b.chat.sees(seer), "it was switched off"
            await b.chat.set_options(blind, {"mmproj": "mmproj-seer"}, person=OWNER)
            assert b.chat.sees(blind), "it was lent one that lies elsewhere"
            found = b.chat.projector(blind)
            assert found is not None
            async with b.exchange("chat") as exchange:
                assert exchange.load.mmproj == str(found.path)
            await b.chat.set_options(seer, {"mmproj": None, "task": "embedding"}, person=OWNER)
            assert not b.chat.sees(seer), "embeddings are made of texts"

    run(main())


def test_a_request_for_more_context_has_an_idle_model_loaded_anew(models: Path, sqlite: Database) -> None:
    async def main() -> None:
        async with bench(models, sqlite) as b:
            async with b.exchange():
                pass
            await b.settled()
            async with b.exchange(context=1000) as exchange:
                assert exchange.load.context >= 1000
                assert not any("the model is loaded with" in choice.reason for choice in exchange.choices)
            async with b.exchange() as exchange:  # whoever does not care takes what there is
                assert exchange.load.context >= 1000
            assert b.engine.started() == ["chat", "chat"]

    run(main())


def test_a_request_for_more_context_than_a_busy_model_has_uses_it_as_it_is_and_says_so(
    models: Path, sqlite: Database
) -> None:
    async def main() -> None:
        async with bench(models, sqlite) as b, b.exchange(), b.exchange(context=1000) as exchange:
            assert exchange.load.context == 512
            said = next(choice for choice in exchange.choices if choice.name == "context")
            assert (said.value, said.source) == (512, "request")
            assert "asked for 1000 tokens; the model is loaded with 512" in said.reason

    run(main())


def test_more_context_than_the_settings_allow_is_clamped_and_loads_nothing_anew(
    models: Path, sqlite: Database
) -> None:
    async def main() -> None:
        async with bench(models, sqlite, defaults=Defaults(max_context=512)) as b:
            for _ in range(2):
                async with b.exchange(context=100_000) as exchange:
                    assert exchange.load.context == 512
                await b.settled()
            assert b.engine.started() == ["chat"]

    run(main())


def test_embeddings_of_a_chat_model_come_from_a_process_of_their_own(models: Path, sqlite: Database) -> None:
    async def main() -> None:
        async with bench(models, sqlite) as b:
            async with (
                b.exchange() as chat,
                b.exchange(task=LanguageTask.EMBEDDING) as embedding,
            ):
                assert (chat.mode, embedding.mode) == ("chat", "embedding")
                assert embedding.load.pooling == "mean"
                assert chat.lease.resident != embedding.lease.resident
            state = b.chat.state(b.model())
            assert state.mode == "chat", "the state is that of what the model is for"
            await b.settled()
            await b.chat.unload(b.model())
            await until(lambda: b.engine.living == [])

    run(main())


# -- counting -------------------------------------------------------------------------------------------


def test_what_was_used_is_counted_by_model(models: Path, sqlite: Database) -> None:
    async def main() -> None:
        async with bench(models, sqlite) as b:
            for tokens in (10, 20):
                async with b.exchange() as exchange:
                    exchange.used(Usage(prompt_tokens=5, completion_tokens=tokens, seconds=1.0))
            with contextlib.suppress(ZeroDivisionError):
                async with b.exchange():
                    raise ZeroDivisionError
            counted = b.chat.counters()[b.model().id]
            assert (counted.requests, counted.failures) == (3, 0)
            assert (counted.prompt_tokens, counted.completion_tokens) == (10, 30)
            assert counted.tokens_per_s == pytest.approx(13.0)
            assert counted.last_used == b.clock.now()

    run(main())
