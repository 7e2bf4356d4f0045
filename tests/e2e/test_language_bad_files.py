# SPDX-License-Identifier: Apache-2.0
"""Broken, hostile and impossible GGUF files beside a sound one: each says what is wrong with it, the server
stays quick, and the sound one answers."""

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import gguf
import httpx
import pytest

from inglenook.testing.parts import require
from inglenook.testing.server import RunningServer
from tests.e2e.conftest import ENVIRON
from tests.gguf_files import Shape, describe_llama, small_tokenizer, write_llama

pytestmark = pytest.mark.slow

SOUND = "sound"
HI = [{"role": "user", "content": "hi"}]
QUICKLY_S = 30.0
"""No answer takes longer, on a busy machine either; what reads what a header claims takes for ever."""
LOADING_S = 180.0
"""A sound model starts a process first."""
TIB = 2**40


def header(*, tensors: int = 0, fields: int = 0, version: int = 3, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, fields) + rest


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def field(name: bytes, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


ARRAY, STRING = 9, 8
NESTED = struct.pack("<IQ", ARRAY, 1) * 100_000
CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "magic-only": b"GGUF",
    "noise": bytes(range(256)) * 64,
    "unknown-version": header(version=99),
    "claims-tensors": header(tensors=2**63),
    "claims-fields": header(fields=2**64 - 1),
    "claims-text": header(fields=1, rest=field(b"general.name", STRING, struct.pack("<Q", 2**62) + b"x")),
    "claims-list": header(fields=1, rest=field(b"tokens", ARRAY, struct.pack("<IQ", STRING, 2**61))),
    "nested-lists": header(fields=1, rest=field(b"deep", ARRAY, NESTED)),
}


def cut(at: Callable[[int], int]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        write_llama(path)
        os.truncate(path, at(path.stat().st_size))

    return make


MADE: dict[str, Callable[[Path], None]] = {
    "cut-in-the-header": cut(lambda _: 5_000),
    "cut-in-the-weights": cut(lambda size: size - 1),
    "a-pipe": os.mkfifo,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "a-loop": lambda path: path.symlink_to(path),
    "nothing-behind-it": lambda path: path.symlink_to(path.with_name("gone")),
}
UNREADABLE = frozenset({"a-pipe", "endless", "a-loop", "nothing-behind-it"})
"""They are no files, and so no models."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "models"
    write_llama(folder / f"{SOUND}.gguf")
    return folder


@pytest.fixture(scope="module")
def http(models: Path) -> Iterator[httpx.Client]:
    with (
        RunningServer.start(models.parent, environ=ENVIRON, timeout_s=180) as server,
        httpx.Client(base_url=server.base_url, timeout=QUICKLY_S, trust_env=False) as client,
    ):
        yield client


def ask(http: httpx.Client, model: str, *, timeout_s: float = QUICKLY_S) -> httpx.Response:
    body = {"model": model, "messages": HI, "max_tokens": 3}
    return http.post("/v1/chat/completions", json=body, timeout=timeout_s)


def write_huge(path: Path, *, tensor_tib: int = 2) -> None:
    """A llama with a sound header whose weights would be that large; the file is as long, and empty."""
    shape = Shape(width=2**14, feed_forward=2**22, layers=8 * tensor_tib, kv_heads=1)
    tokenizer = small_tokenizer()
    writer = gguf.GGUFWriter(path, "llama")
    describe_llama(writer, shape, tokenizer, name="Huge")
    size = 0
    for name, sides in huge_tensors(shape, len(tokenizer.tokens)):
        kind = gguf.GGMLQuantizationType.F32 if len(sides) == 1 else gguf.GGMLQuantizationType.F16
        item = 4 if len(sides) == 1 else 2
        count = item * sides[0] * (sides[1] if len(sides) > 1 else 1)
        writer.add_tensor_info(name, sides, NotImplemented, count, raw_dtype=kind)
        size += count
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    try:
        os.truncate(path, path.stat().st_size + size + 2**20)
    except OSError as error:
        require(False, f"this disk has no files of {tensor_tib} TiB: {error}")


def huge_tensors(shape: Shape, words: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    width, wide, kv = shape.width, shape.feed_forward, shape.kv_heads * 64
    yield "token_embd.weight", (words, width)
    yield "output.weight", (words, width)
    yield "output_norm.weight", (width,)
    for layer in range(shape.layers):
        sides: dict[str, tuple[int, ...]] = {
            "attn_q": (width, width), "attn_output": (width, width),
            "attn_k": (kv, width), "attn_v": (kv, width),
            "ffn_gate": (wide, width), "ffn_up": (wide, width), "ffn_down": (width, wide),
            "attn_norm": (width,), "ffn_norm": (width,),
        }  # fmt: skip
        for name, size in sides.items():
            yield f"blk.{layer}.{name}.weight", size


@pytest.mark.parametrize("name", [*CONTENTS, *MADE])
def test_a_broken_file_that_appears_while_the_server_runs_is_refused_in_words(
    http: httpx.Client, models: Path, name: str
) -> None:
    path = models / f"{name}.gguf"
    if name in CONTENTS:
        path.write_bytes(CONTENTS[name])
    else:
        MADE[name](path)
    answer = ask(http, name)
    assert answer.status_code in (400, 404), answer.text
    error = answer.json()["error"]
    assert error["param"] == "model"
    assert name in error["message"]
    if name not in UNREADABLE:
        assert answer.status_code == 400
        problem = http.get(f"/v1/models/{name}").json()["problem"]
        assert problem.partition("\n")[0].rstrip(".") in error["message"]
    listed = [model["id"] for model in http.get("/v1/models").json()["data"]]
    assert name not in listed
    assert SOUND in listed
    assert http.get("/livez").status_code == 200


def test_a_broken_file_is_refused_in_every_dialect(http: httpx.Client, models: Path) -> None:
    (models / "bad.gguf").write_bytes(CONTENTS["noise"])
    openai = http.post("/v1/embeddings", json={"model": "bad", "input": "x"})
    assert openai.status_code == 400
    anthropic = http.post("/v1/messages", json={"model": "bad", "messages": HI, "max_tokens": 3})
    assert (anthropic.status_code, anthropic.json()["type"]) == (400, "error")
    ollama = http.post("/api/chat", json={"model": "bad", "messages": HI})
    assert ollama.status_code == 400
    cyber = http.post("/admin/models/bad/load")
    assert cyber.status_code == 409
    assert cyber.json()["detail"]
    ours = http.post("/v1/models/bad/load")
    assert ours.status_code == 400
    problem = http.get("/v1/models/bad").json()["problem"].partition("\n")[0].rstrip(".")
    for answer in (openai, anthropic, ollama, cyber, ours):
        assert problem in answer.text
    assert http.get("/v1/runtime").json()["residents"] == []


def test_a_model_larger_than_memory_is_refused_with_both_numbers(http: httpx.Client, models: Path) -> None:
    write_huge(models / "huge.gguf")
    record = http.get("/v1/models/huge").json()
    assert record.get("problem") is None
    answer = ask(http, "huge")
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["code"] == "model.too_large"
    assert error["message"].count("TiB") >= 1, "what it needs"
    assert error["message"].count("GiB") >= 1, "what there is"
    assert error["hint"]
    assert http.get("/v1/runtime").json()["residents"] == []


def test_a_context_beyond_the_model_is_clamped_and_that_is_said(http: httpx.Client) -> None:
    changed = http.patch(f"/v1/models/{SOUND}/options", json={"context": 20_000})
    assert changed.status_code == 200, changed.text
    state = http.post(f"/v1/models/{SOUND}/load", timeout=LOADING_S).json()
    assert state["context"] == 1024
    [choice] = [one for one in state["choices"] if one["name"] == "context"]
    assert choice["value"] == 1024
    assert "1024" in choice["reason"]
    http.delete(f"/v1/models/{SOUND}/options")


def test_the_sound_model_beside_them_answers(http: httpx.Client) -> None:
    answer = ask(http, SOUND, timeout_s=LOADING_S)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["finish_reason"] == "length"
