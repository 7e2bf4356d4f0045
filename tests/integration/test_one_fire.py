# SPDX-License-Identifier: Apache-2.0
"""Pictures and conversations on a device that holds only one of the two models, with real processes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.starters import CHAT, with_starters

from inglenook.app import Workshop, open_workshop
from inglenook.base.cancel import StopToken
from inglenook.base.ids import OWNER, ModelId
from inglenook.base.units import MIB
from inglenook.images.model import ImageRequest
from inglenook.jobs.model import JobState
from inglenook.settings import load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PICTURES = ModelId("starter-339")
TOKENS = 24


@asynccontextmanager
async def workshop(data: Path, budget_bytes: int) -> AsyncIterator[Workshop]:
    flags = {
        "server.data": str(data),
        "runtime.cpu_threads": 1,
        "runtime.switch_patience_s": 0.5,
        "runtime.devices": ["cpu"],
        "runtime.budgets": {"cpu": budget_bytes},
        "language.context": 512,
        "language.parallel": 2,
    }
    async with open_workshop(load(file=None, environ={}, flags=flags)) as made:
        yield made


async def talk(w: Workshop) -> tuple[int, str | None]:
    """Stream an answer of `TOKENS` tokens. Returns how many pieces it had, and why it ended."""
    body = {
        "messages": [{"role": "user", "content": "Count from one to one hundred."}],
        "max_tokens": TOKENS,
        "temperature": 0.0,  # by luck it may choose a sign of several tokens, which is one piece
        "stream": True,
        "logit_bias": [[2, False], [0, False]],  # it must not end by itself
    }
    said = b""
    model = await w.chat.named(CHAT)
    async with (
        w.chat.exchange(model, person=OWNER, stop=StopToken()) as exchange,
        exchange.request("POST", "/v1/chat/completions", body=json.dumps(body).encode()) as reply,
    ):
        assert reply.status == 200
        async for part in reply.content:
            said += part
    events = [line[6:] for line in said.decode().splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]", "the stream was cut off"
    choices = [choice for event in events[:-1] for choice in json.loads(event)["choices"]]
    pieces = sum(bool(choice["delta"].get("content")) for choice in choices)
    return pieces, choices[-1]["finish_reason"]


async def draw(w: Workshop) -> JobState:
    job = await w.images.submit(
        ImageRequest(model=PICTURES, prompt="a red fox", steps=2, seed=1), owner=OWNER
    )
    return (await w.jobs.wait(job.id)).state


async def watch(w: Workshop, budget_bytes: int, found: dict[str, int]) -> None:
    """Look at the book until cancelled: what is reserved, and whether every wait is explained."""
    while True:
        shown = w.scheduler.snapshot()
        reserved = sum(device["reserved_bytes"] for device in shown["devices"])
        assert reserved <= budget_bytes, "more is reserved than there is"
        found["most"] = max(found["most"], reserved)
        found["residents"] = max(found["residents"], len(shown["residents"]))
        for waiting in shown["queue"]:
            assert waiting["reason"]["text"]
            found["explained"] += 1
        await asyncio.sleep(0.02)  # a look at a time; nothing waits for it


async def needs(data: Path) -> dict[str, int]:
    """What each of the two models was measured to need: from now on that is what is reserved for it."""
    async with workshop(data, 4096 * MIB) as w:
        assert await draw(w) is JobState.SUCCEEDED
        await talk(w)
        return {str(r.plan.model): r.measured_bytes for r in w.scheduler.residents()}


def test_they_take_turns_and_no_stream_is_cut_off(tmp_path: Path, chat_model: Path) -> None:
    data = with_starters(tmp_path, chat_model)

    async def main() -> None:
        needed = await needs(data)
        assert set(needed) == {CHAT, PICTURES}
        budget = max(needed.values()) + min(needed.values()) // 2
        found = {"most": 0, "residents": 0, "explained": 0}
        async with workshop(data, budget) as w:
            watching = asyncio.create_task(watch(w, budget, found))
            assert await talk(w) == (TOKENS, "length")
            assert await draw(w) is JobState.SUCCEEDED
            # And all at once: streams run while pictures wait for their memory, and the other way round.
            talks = [asyncio.create_task(talk(w)) for _ in range(4)]
            draws = [asyncio.create_task(draw(w)) for _ in range(2)]
            assert await asyncio.gather(*talks) == [(TOKENS, "length")] * 4
            assert await asyncio.gather(*draws) == [JobState.SUCCEEDED] * 2
            assert not watching.done(), watching.exception()
            watching.cancel()
            what = [note["what"] for note in w.scheduler.snapshot()["recent"]]
            assert "failed" not in what
            assert found["residents"] == 1, "the budget held both: nothing was shown"
            assert what.count("ready") >= 3
            assert found["explained"] > 0

    asyncio.run(asyncio.wait_for(main(), 500))


def test_unloading_a_model_in_the_middle_of_a_stream_lets_the_stream_end(
    tmp_path: Path, chat_model: Path
) -> None:
    data = with_starters(tmp_path, chat_model)

    async def main() -> None:
        async with workshop(data, 2048 * MIB) as w:
            model = await w.chat.named(CHAT)
            talking = asyncio.create_task(talk(w))
            while not w.chat.state(model).leases:
                await asyncio.sleep(0.01)
            assert (await w.chat.unload(model)).leaving
            assert await talking == (TOKENS, "length")
            while w.chat.state(model).state != "unloaded":
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(main(), 300))
