# SPDX-License-Identifier: Apache-2.0
"""Tiny models of other architectures than llama, with random weights, which llama.cpp runs: each has a cache
of another sort."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from tests.gguf_files import small_tokenizer, write

WIDTH, FEED_FORWARD, CONTEXT = 128, 256, 8192
_RANDOM = np.random.default_rng(0)


def _matrix(*sides: int) -> np.ndarray:
    return (_RANDOM.standard_normal(sides) * 0.02).astype(np.float16)


def _ones(count: int) -> np.ndarray:
    return np.ones(count, np.float32)


def _write(path: Path, architecture: str, layers: int, tensors: dict[str, np.ndarray], **fields: Any) -> Path:
    tokenizer = small_tokenizer()
    words = len(tokenizer.tokens)

    def describe(writer: gguf.GGUFWriter) -> None:
        writer.add_type("model")
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
        writer.add_block_count(layers)
        writer.add_context_length(CONTEXT)
        writer.add_embedding_length(WIDTH)
        writer.add_feed_forward_length(FEED_FORWARD if "ssm__inner_size" not in fields else 0)
        writer.add_vocab_size(words)
        writer.add_layer_norm_rms_eps(1e-5)
        for name, value in fields.items():
            full = f"{architecture}.{name.replace('__', '.')}"
            if isinstance(value, float):
                writer.add_float32(full, value)
            else:
                writer.add_uint32(full, value)
        tokenizer.write(writer)

    outside = {"token_embd.weight": _matrix(words, WIDTH), "output_norm.weight": _ones(WIDTH)}
    return write(path, architecture, {**outside, **tensors}, describe)


def _feed_forward(prefix: str) -> dict[str, np.ndarray]:
    return {
        f"{prefix}ffn_norm.weight": _ones(WIDTH),
        f"{prefix}ffn_gate.weight": _matrix(FEED_FORWARD, WIDTH),
        f"{prefix}ffn_up.weight": _matrix(FEED_FORWARD, WIDTH),
        f"{prefix}ffn_down.weight": _matrix(WIDTH, FEED_FORWARD),
    }


def write_windowed(path: Path) -> Path:
    """Gemma 3: five layers of six look back 512 tokens."""
    tensors, heads, head = {}, 2, 64
    for layer in range(6):
        prefix = f"blk.{layer}."
        tensors |= _feed_forward(prefix) | {
            f"{prefix}attn_q.weight": _matrix(heads * head, WIDTH),
            f"{prefix}attn_k.weight": _matrix(head, WIDTH),
            f"{prefix}attn_v.weight": _matrix(head, WIDTH),
            f"{prefix}attn_output.weight": _matrix(WIDTH, heads * head),
            f"{prefix}attn_q_norm.weight": _ones(head),
            f"{prefix}attn_k_norm.weight": _ones(head),
            f"{prefix}attn_norm.weight": _ones(WIDTH),
            f"{prefix}post_attention_norm.weight": _ones(WIDTH),
            f"{prefix}post_ffw_norm.weight": _ones(WIDTH),
        }
    return _write(
        path, "gemma3", 6, tensors, attention__head_count=heads, attention__head_count_kv=1,
        attention__key_length=head, attention__value_length=head, attention__sliding_window=512,
    )  # fmt: skip


def write_recurrent(path: Path) -> Path:
    """Mamba: a state in every layer, and no keys."""
    tensors, inner, state, kernel, rank = {}, 256, 16, 4, 8
    for layer in range(4):
        prefix = f"blk.{layer}."
        tensors |= {
            f"{prefix}attn_norm.weight": _ones(WIDTH),
            f"{prefix}ssm_in.weight": _matrix(2 * inner, WIDTH),
            f"{prefix}ssm_conv1d.weight": _matrix(inner, kernel).astype(np.float32),
            f"{prefix}ssm_conv1d.bias": np.zeros(inner, np.float32),
            f"{prefix}ssm_x.weight": _matrix(rank + 2 * state, inner),
            f"{prefix}ssm_dt.weight": _matrix(inner, rank),
            f"{prefix}ssm_dt.bias": np.zeros(inner, np.float32),
            f"{prefix}ssm_a": -np.ones((inner, state), np.float32),
            f"{prefix}ssm_d": _ones(inner),
            f"{prefix}ssm_out.weight": _matrix(WIDTH, inner),
        }
    return _write(
        path, "mamba", 4, tensors, attention__head_count=0, ssm__conv_kernel=kernel, ssm__inner_size=inner,
        ssm__state_size=state, ssm__time_step_rank=rank,
    )  # fmt: skip


def write_compressed(path: Path) -> Path:
    """DeepSeek 2: one compressed row for keys and values of all heads."""
    tensors, heads, row, rope, nope, value, query = {}, 4, 512, 64, 128, 128, 64
    for layer in range(4):
        prefix = f"blk.{layer}."
        tensors |= _feed_forward(prefix) | {
            f"{prefix}attn_norm.weight": _ones(WIDTH),
            f"{prefix}attn_q_a_norm.weight": _ones(query),
            f"{prefix}attn_kv_a_norm.weight": _ones(row),
            f"{prefix}attn_q_a.weight": _matrix(query, WIDTH),
            f"{prefix}attn_q_b.weight": _matrix(heads * (nope + rope), query),
            f"{prefix}attn_kv_a_mqa.weight": _matrix(row + rope, WIDTH),
            f"{prefix}attn_k_b.weight": _matrix(heads, row, nope),
            f"{prefix}attn_v_b.weight": _matrix(heads, value, row),
            f"{prefix}attn_output.weight": _matrix(WIDTH, heads * value),
        }
    tensors["output.weight"] = _matrix(len(small_tokenizer().tokens), WIDTH)
    return _write(
        path, "deepseek2", 4, tensors, attention__head_count=heads, attention__head_count_kv=1,
        attention__key_length=row + rope, attention__value_length=row,
        attention__key_length_mla=nope + rope, attention__value_length_mla=value,
        attention__q_lora_rank=query, attention__kv_lora_rank=row, rope__dimension_count=rope,
        leading_dense_block_count=4, expert_count=4, expert_used_count=2, expert_shared_count=1,
        expert_feed_forward_length=FEED_FORWARD, expert_gating_func=1, expert_weights_scale=1.0,
    )  # fmt: skip
