# SPDX-License-Identifier: Apache-2.0
"""Every field of `LoadLanguageModel` does something, seen on llama.cpp itself, whether our launcher passes
it to the library or a `llama-server` gets it as an argument. Not seen here, for want of a GPU:
`gpu_layers`, `draft_gpu_layers`, and `device` where there is one.
"""

import asyncio
import json
import math
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.gguf_files import write_adapter, write_llama, write_projector
from tests.llama_server import require_library, write_llama_server

from inglenook.base.ids import ModelId
from inglenook.engines.llamacpp.child import LlamaChild
from inglenook.engines.llamacpp.engine import NAME, LlamaEngine
from inglenook.runtime.contracts import ChildFailed, LoadPlan
from inglenook.testing.devices import fake_device
from inglenook.wire.llama import Adapter, LoadLanguageModel

pytestmark = pytest.mark.slow

CPU = fake_device("cpu", 10**9)
TEXT = "the fire in the house is warm and the cat sleeps near it " * 4
TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_library()
    return write_llama(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


class Way:
    """One of the two ways to start a child."""

    def __init__(self, how: str, folder: Path, model: Path) -> None:
        program = write_llama_server(folder) if how == "program" else None
        self.model = model
        self.engine = LlamaEngine(
            spool_root=folder / "spool",
            find=lambda: program,
            start_timeout_s=60.0,
            stop_grace_s=1.0,
            threads=1,
        )

    @asynccontextmanager
    async def started(self, **options: Any) -> AsyncIterator[LlamaChild]:
        load = LoadLanguageModel(**({"path": str(self.model), "alias": "tiny", "context": 512} | options))
        child = await self.engine.start(LoadPlan(ModelId("m"), NAME, {"cpu": 1}, options={"load": load}), CPU)
        try:
            yield child
        finally:
            await child.stop(1.0)
            await child.discard()

    def see(self, see: Any, **options: Any) -> Any:
        """What `see` finds at a child with these options that is ready."""

        async def main() -> Any:
            async with self.started(**options) as child:
                await child.ready()
                return await see(child)

        return asyncio.run(asyncio.wait_for(main(), 120))

    def printed(self, do: Any, **options: Any) -> str:
        """All that a child with these options has printed until its end, when `do` was done with it."""

        async def main() -> str:
            async with self.started(**options) as child:
                await child.ready()
                await do(child)
            return "\n".join(child.log())

        return str(asyncio.run(asyncio.wait_for(main(), 120)))

    def refusal(self, **options: Any) -> ChildFailed:
        async def main() -> ChildFailed:
            async with self.started(**options) as child:
                with pytest.raises(ChildFailed) as failed:
                    await child.ready()
                return failed.value

        return asyncio.run(asyncio.wait_for(main(), 120))


@pytest.fixture(params=["launcher", "program"])
def way(request: pytest.FixtureRequest, tmp_path: Path, model: Path) -> Way:
    return Way(request.param, tmp_path, model)


async def said_in_the_log(child: LlamaChild, words: str) -> None:
    """Its answers and its log come by different ways: neither waits for the other."""
    async with asyncio.timeout(60):
        while not any(words in line for line in child.log()):
            await asyncio.sleep(0.01)


async def get(child: LlamaChild, path: str) -> Any:
    async with child.request("GET", path) as reply:
        body = await reply.read()
        return body.decode() if path == "/metrics" else json.loads(body)


async def post(child: LlamaChild, path: str, **body: Any) -> Any:
    async with child.request("POST", path, body=json.dumps(body).encode()) as reply:
        return json.loads(await reply.read())


async def meter(child: LlamaChild, name: str) -> float:
    rows = (await get(child, "/metrics")).splitlines()
    return float(next(row.split()[1] for row in rows if row.startswith(f"llamacpp:{name} ")))


async def logprobs(child: LlamaChild) -> list[float]:
    """Of the most likely first tokens after `TEXT`, exact to the last digit."""
    answer = await post(child, "/completion", prompt=TEXT, n_predict=1, n_probs=5, temperature=0.0, seed=1)
    return [one["logprob"] for one in answer["completion_probabilities"][0]["top_logprobs"]]


def test_alias_context_and_parallel_are_what_the_child_says_of_itself(way: Way) -> None:
    async def see(child: LlamaChild) -> Any:
        return await get(child, "/props"), await get(child, "/slots"), await get(child, "/v1/models")

    props, slots, models = way.see(see, context=256, parallel=3)
    assert (props["model_alias"], props["total_slots"]) == ("tiny", 3)
    assert props["default_generation_settings"]["n_ctx"] == 256
    assert [slot["n_ctx"] for slot in slots] == [256, 256, 256]
    assert models["data"][0]["id"] == "tiny"
    assert not props["ui"]
    assert not props["endpoint_props"], "its settings could be changed by a request"


def test_one_store_for_all_conversations_lets_each_use_the_whole(way: Way) -> None:
    async def see(child: LlamaChild) -> Any:
        return [slot["n_ctx"] for slot in await get(child, "/slots")]

    assert way.see(see, context=256, parallel=2, kv_unified=True) == [512, 512]


def test_threads_are_those_that_were_asked_for(way: Way) -> None:
    async def see(child: LlamaChild) -> None:
        await said_in_the_log(child, "n_threads = 2")

    way.see(see, threads=2)


def test_a_small_batch_takes_a_prompt_in_more_pieces(way: Way) -> None:
    async def see(child: LlamaChild) -> float:
        before = await meter(child, "n_decode_total")
        answer = await post(child, "/completion", prompt=TEXT, n_predict=1, cache_prompt=False)
        assert answer["tokens_evaluated"] > 64
        return await meter(child, "n_decode_total") - before

    assert way.see(see, batch=32, ubatch=32) > way.see(see, batch=512, ubatch=512)


def test_cache_types_and_flash_attention_reach_the_child(way: Way) -> None:
    exact = way.see(logprobs, cache_type_k="f32", cache_type_v="f32", flash_attention="off")
    assert way.see(logprobs, cache_type_k="q4_0", cache_type_v="f32", flash_attention="off") != exact
    assert way.see(logprobs, cache_type_k="f32", cache_type_v="q4_0", flash_attention="on") != exact
    failed = way.refusal(cache_type_v="q8_0", flash_attention="off")
    assert failed.code == "load.refused"
    assert "flash_attn" in failed.message


def test_conversations_that_lost_their_slot_are_kept_only_where_memory_was_given_for_it(way: Way) -> None:
    async def see(child: LlamaChild) -> None:
        """What it prints when it begins is all that counts."""

    assert "requires --cache-ram, disabling" in way.printed(see)
    assert "requires --cache-ram, disabling" not in way.printed(see, prompt_cache_mib=8)


def test_a_projector_makes_it_see(way: Way, tmp_path: Path) -> None:
    async def see(child: LlamaChild) -> Any:
        return (await get(child, "/props"))["modalities"]["vision"]

    assert way.see(see, mmproj=str(write_projector(tmp_path / "mmproj.gguf")))
    assert not way.see(see)


def test_a_draft_model_guesses_no_more_at_once_than_it_may(way: Way, tmp_path: Path) -> None:
    async def see(child: LlamaChild) -> Any:
        await post(child, "/completion", prompt=TEXT, n_predict=16, temperature=0.0)
        slots = await get(child, "/slots")
        drafts = await meter(child, "spec_decode_num_drafts_total")
        return slots[0]["speculative"], drafts, await meter(child, "spec_decode_num_draft_tokens_total")

    draft = str(write_llama(tmp_path / "draft.gguf"))
    speculative, drafts, tokens = way.see(see, draft=draft, draft_max=2)
    assert speculative
    assert drafts > 0
    assert drafts < tokens <= 2 * drafts
    _, drafts, tokens = way.see(see, draft=draft, draft_max=1)
    assert tokens == drafts > 0
    assert way.see(see)[:2] == (False, 0)


def test_adapters_work_as_strongly_as_they_were_told_to(way: Way, tmp_path: Path) -> None:
    async def see(child: LlamaChild) -> Any:
        return await get(child, "/lora-adapters"), await logprobs(child)

    paths = [str(write_adapter(tmp_path / f"{name}.gguf")) for name in ("one", "two")]
    _, plain = way.see(see)
    loras = (Adapter(path=paths[0], scale=0.5), Adapter(path=paths[1], scale=2.0))
    listed, adapted = way.see(see, loras=loras)
    assert [(one["path"], one["scale"]) for one in listed] == [(paths[0], 0.5), (paths[1], 2.0)]
    assert adapted != plain


def test_a_template_takes_the_place_of_the_models_own(way: Way, tmp_path: Path) -> None:
    async def see(child: LlamaChild) -> Any:
        return (await post(child, "/apply-template", messages=[{"role": "user", "content": "hi"}]))["prompt"]

    template = tmp_path / "template.jinja"
    template.write_text(TEMPLATE)
    assert way.see(see, chat_template=str(template)).startswith("[user] hi")
    assert "[user]" not in way.see(see)


def test_an_embedding_is_pooled_as_it_was_told_to(way: Way) -> None:
    async def see(child: LlamaChild) -> Any:
        answer = await post(child, "/v1/embeddings", input="the cat sleeps")
        return answer["data"][0]["embedding"]

    vectors = [way.see(see, mode="embedding", pooling=pooling) for pooling in ("mean", "cls", "last")]
    assert all(math.isclose(sum(x * x for x in vector), 1.0, rel_tol=1e-3) for vector in vectors)
    assert len({tuple(vector) for vector in vectors}) == 3

    async def each(child: LlamaChild) -> Any:
        return (await post(child, "/embeddings", content="the cat sleeps"))[0]["embedding"]

    assert len(way.see(each, mode="embedding", pooling="none")) > 1, "one vector a token"


def test_a_text_for_an_embedding_may_be_as_long_as_the_physical_batch(way: Way) -> None:
    """llama.cpp refuses a longer one, whatever its context is."""

    async def see(child: LlamaChild) -> Any:
        return await post(child, "/v1/embeddings", input=TEXT)

    refused = way.see(see, mode="embedding", pooling="mean", batch=48, ubatch=48)
    assert "48" in refused["error"]["message"]
    taken = way.see(see, mode="embedding", pooling="mean", batch=512, ubatch=512)
    assert taken["usage"]["prompt_tokens"] > 48


def test_a_reranker_gives_each_document_a_score(way: Way) -> None:
    async def see(child: LlamaChild) -> Any:
        return await post(child, "/v1/rerank", query="cat", documents=["the cat", "a fire"])

    assert len(way.see(see, mode="rerank")["results"]) == 2


def test_a_device_that_is_not_there_is_refused(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child on the CPU gets no device, so the plan is for an accelerator; the machine has none of that
    name."""
    monkeypatch.setattr(sys.modules[__name__], "CPU", fake_device("vulkan:0", 10**9))
    failed = way.refusal(device="Vulkan77")
    assert failed.code == "load.refused"
    assert "Vulkan77" in failed.message


def test_no_prompt_and_no_answer_is_printed(way: Way) -> None:
    async def see(child: LlamaChild) -> Any:
        said = {"role": "user", "content": "quetzalcoatlus northropi"}
        await post(child, "/v1/chat/completions", messages=[said], max_tokens=4)
        await post(child, "/completion", prompt="quetzalcoatlus northropi", n_predict=4)

    assert "quetzal" not in way.printed(see)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a program a network of its own")
def test_a_child_that_sees_cannot_fetch_the_picture_that_a_request_names(way: Way, tmp_path: Path) -> None:
    """llama.cpp would; no option turns it off."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode())
        writer.close()

    async def see(child: LlamaChild) -> int:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        picture = {"type": "image_url", "image_url": {"url": f"http://127.0.0.1:{port}/a.png"}}
        said = {"messages": [{"role": "user", "content": [picture]}], "max_tokens": 1}
        async with child.request("POST", "/v1/chat/completions", body=json.dumps(said).encode()) as reply:
            await reply.read()
        server.close()
        return reply.status

    assert way.see(see, mmproj=str(write_projector(tmp_path / "mmproj.gguf"))) >= 400
    assert asked == []


def test_media_that_nobody_can_read_starts_no_other_program(way: Way, tmp_path: Path) -> None:
    async def see(child: LlamaChild) -> Any:
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,Z2FyYmFnZQ=="}}
        said = {"messages": [{"role": "user", "content": [picture]}], "max_tokens": 1}
        async with child.request("POST", "/v1/chat/completions", body=json.dumps(said).encode()) as reply:
            await reply.read()
        await said_in_the_log(
            child, "failed to launch ffprobe"
        )  # it has looked for the program and found none
        return reply.status

    assert way.see(see, mmproj=str(write_projector(tmp_path / "mmproj.gguf"))) == 400
