# SPDX-License-Identifier: Apache-2.0
"""T5's encoder out of single files, and the tokenizer that such files do not bring.

`configs/t5/tokenizer.json.gz` holds the vocabulary of T5, 32,100 pieces of words with their probabilities;
see NOTICE for where it comes from.
"""

import base64
import functools
import gzip
import json
from pathlib import Path
from typing import Any

import torch
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from inglenook.workers.image.errors import LoadUnsupported
from inglenook.workers.image.families.held import Held, empty, filled
from inglenook.workers.image.families.ldm import CONFIGS
from inglenook.workers.image.weights import read_json

_VOCABULARY = CONFIGS / "t5" / "tokenizer.json.gz"
_LONGEST_TOKENS = 512
_ATTENTION, _FEED = "encoder.block.0.layer.0.SelfAttention.", "encoder.block.0.layer.1.DenseReluDense."


def tokenizer_for(encoder: torch.nn.Module, place: Path | None) -> T5Tokenizer:
    """Ours for an encoder of T5's own vocabulary; for any other the one in the folder `place`.

    Raises `LoadUnsupported` when there is none.
    """
    rows, tokens = encoder.config.vocab_size, len(_vocabulary()[0])
    if rows >= tokens:
        return tokenizer()
    if place is None:
        raise LoadUnsupported(
            f"The T5 encoder knows {rows} tokens; T5's own vocabulary has {tokens}.",
            hint="put the tokenizer that belongs to it beside it, as a folder of diffusers has it",
        )
    return T5Tokenizer.from_pretrained(place, local_files_only=True)


def tokenizer() -> T5Tokenizer:
    pieces, charsmap = _vocabulary()
    return T5Tokenizer(
        vocab=list(pieces), _spm_precompiled_charsmap=charsmap, model_max_length=_LONGEST_TOKENS
    )


def read(held: Held, dtype: torch.dtype) -> torch.nn.Module:
    """Raises `LoadCorrupt`, `LoadUnsupported`."""
    tensors = held.tensors(dtype)
    # Both names stand for one table, and files hold either.
    table = tensors.setdefault("shared.weight", tensors.get("encoder.embed_tokens.weight"))
    if table is None:
        raise LoadUnsupported(f"The T5 in {held.file.path.name} has no table of tokens ('shared.weight').")
    tensors["encoder.embed_tokens.weight"] = table
    for key in [key for key in tensors if key.startswith(("decoder.", "lm_head.", "logit_scale"))]:
        del tensors[key]
    if dtype == torch.float16:  # the last matrix of each layer overflows, as transformers knows
        tensors = {key: tensor.float() if ".wo." in key else tensor for key, tensor in tensors.items()}
    model = empty(T5EncoderModel, T5Config(**_settings(held, table)), "T5")
    return filled(model, tensors, "T5", held.file.path.name)


def _settings(held: Held, table: torch.Tensor) -> dict[str, Any]:
    """T5 XXL's configuration, with the sizes of the file."""
    rows, width = table.shape
    heads = held.shape(f"{_ATTENTION}relative_attention_bias.weight")[1]
    return {
        **read_json(CONFIGS / "t5" / "config.json"),
        "vocab_size": rows,
        "d_model": width,
        "d_kv": held.shape(f"{_ATTENTION}q.weight")[0] // heads,
        "d_ff": held.shape(f"{_FEED}wi_0.weight")[0],
        "num_heads": heads,
        "num_layers": held.count(r"encoder\.block\.(\d+)\."),
    }


@functools.cache
def _vocabulary() -> tuple[tuple[tuple[str, float], ...], bytes]:
    """Pieces and their logarithmic probabilities; the table by which characters are made alike beforehand."""
    with gzip.open(_VOCABULARY, "rt", encoding="utf-8") as file:
        told = json.load(file)
    alike = next(step for step in told["normalizer"]["normalizers"] if step["type"] == "Precompiled")
    pieces = tuple((piece, score) for piece, score in told["model"]["vocab"])
    return pieces, base64.b64decode(alike["precompiled_charsmap"])
