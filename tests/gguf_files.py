# SPDX-License-Identifier: Apache-2.0
"""Small GGUF files for tests, written with the real `gguf` package.

`write_llama` makes a model that llama.cpp loads and answers with in a fraction of a second; what it says is
made of real words in no order. Projectors and adapters run as well, with random weights; the rest
has a header and zeros.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

Tensors = Mapping[str, np.ndarray]

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<|end|>", "<|im_start|>", "<|im_end|>")
TEXT = """
the and of to in is it you that was for on are with as his they at be this from have or by one had
not but what all were when we there can an your which their said if do will each about how up out
them then she many some so these would other into has more her two like him see time could no make
than first been its who now people my made over did down only way find use may water long little
very after words called just where most know
"""
WORDS = tuple(TEXT.split())


def _byte_letters() -> list[str]:
    """GPT-2's letter for each byte: printable ones are themselves, the rest are letters from U+0100 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def _merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """From left to right, so that each word with a space before it ends as one token."""
    found: dict[tuple[str, str], None] = {}
    for word in words:
        letters = f"Ġ{word}"
        for end in range(1, len(letters)):
            found[letters[:end], letters[end]] = None
    return list(found)


@dataclass(frozen=True)
class Tokenizer:
    """A byte-level BPE. `legible`: which tokens are whole words."""

    tokens: Sequence[str]
    types: Sequence[int]
    merges: Sequence[str]
    legible: np.ndarray

    def write(self, writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(list(self.tokens))
        writer.add_token_types(list(self.types))
        writer.add_token_merges(list(self.merges))
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(2)
        writer.add_pad_token_id(0)
        writer.add_add_bos_token(False)


def small_tokenizer(words: Sequence[str] = WORDS) -> Tokenizer:
    """Three special tokens, 256 bytes, and the beginnings of words: some 600 tokens."""
    merges = _merges(words)
    tokens = [*SPECIAL, *_byte_letters(), *dict.fromkeys(left + right for left, right in merges)]
    whole = {f"Ġ{word}" for word in words}
    return Tokenizer(
        tokens=tokens,
        types=[3 if token in SPECIAL else 1 for token in tokens],
        merges=[f"{left} {right}" for left, right in merges],
        legible=np.array([token in whole for token in tokens]),
    )


def tokenizer_of(path: Path) -> Tokenizer:
    """Of another GGUF file with a byte-level BPE; legible are its words of letters alone."""
    reader = gguf.GGUFReader(path)

    def contents(name: str) -> Any:
        field = reader.fields[f"tokenizer.ggml.{name}"]
        return field.contents()

    tokens = contents("tokens")
    legible = [token.startswith("Ġ") and token[1:].isascii() and token[1:].isalpha() for token in tokens]
    return Tokenizer(tokens, contents("token_type"), contents("merges"), np.array(legible))


def write(
    path: Path,
    architecture: str,
    tensors: Tensors,
    describe: Callable[[gguf.GGUFWriter], None] = lambda _: None,
) -> Path:
    """A GGUF file with the tensors (numpy order: rows first) and the fields that `describe` adds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, architecture)
    describe(writer)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@dataclass(frozen=True)
class Shape:
    """Of a llama: `width` = heads × 64."""

    layers: int = 2
    width: int = 128
    feed_forward: int = 256
    kv_heads: int = 1
    context: int = 1024


def llama_tensors(shape: Shape, tokenizer: Tokenizer, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Random, but for the first column of the stream: it is the same in every token, and turns whatever is no
    whole word down at the output."""
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (random.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float16)

    width, kv = shape.width, shape.kv_heads * 64
    found: dict[str, np.ndarray] = {"token_embd.weight": matrix(len(tokenizer.tokens), width) * np.float16(4)}
    found["token_embd.weight"][:, 0] = 4.0
    for layer in range(shape.layers):
        sides = {
            "attn_q": (width, width), "attn_output": (width, width),
            "attn_k": (kv, width), "attn_v": (kv, width),
            "ffn_gate": (shape.feed_forward, width), "ffn_up": (shape.feed_forward, width),
            "ffn_down": (width, shape.feed_forward),
        }  # fmt: skip
        for name, (rows, columns) in sides.items():
            found[f"blk.{layer}.{name}.weight"] = matrix(rows, columns)
        for name in ("attn_norm", "ffn_norm"):
            found[f"blk.{layer}.{name}.weight"] = np.ones(width, np.float32)
    found["output_norm.weight"] = np.ones(width, np.float32)
    found["output.weight"] = matrix(len(tokenizer.tokens), width) * np.float16(4)
    found["output.weight"][:, 0] = np.where(tokenizer.legible, 0, -30)
    return found


def describe_llama(
    writer: gguf.GGUFWriter,
    shape: Shape,
    tokenizer: Tokenizer | None,
    *,
    name: str = "Tiny",
    template: str = TEMPLATE,
) -> None:
    writer.add_type("model")
    writer.add_name(name)
    writer.add_license("cc0-1.0")
    writer.add_description("Random weights, for tests.")
    writer.add_size_label("0.3M")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.width // 64)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(64)
    writer.add_layer_norm_rms_eps(1e-5)
    if tokenizer is not None:
        writer.add_vocab_size(len(tokenizer.tokens))
        tokenizer.write(writer)
        writer.add_chat_template(template)


def write_llama(
    path: Path,
    *,
    shape: Shape | None = None,
    tokenizer: Tokenizer | None = None,
    seed: int = 0,
    name: str = "Tiny",
) -> Path:
    """A llama that llama.cpp runs, about 1 MB. With the same tokenizer, one is another's draft model."""
    shape = shape or Shape()
    tokenizer = tokenizer or small_tokenizer()
    tensors = llama_tensors(shape, tokenizer, seed=seed)
    return write(path, "llama", tensors, lambda writer: describe_llama(writer, shape, tokenizer, name=name))


def write_split(
    folder: Path, stem: str, *, parts: int = 2, shape: Shape | None = None, seed: int = 0
) -> list[Path]:
    """The model of `write_llama`, in several files as llama.cpp's `gguf-split` writes them."""
    shape, tokenizer = shape or Shape(), small_tokenizer()
    tensors = llama_tensors(shape, tokenizer, seed=seed)
    names, each = list(tensors), -(-len(tensors) // parts)
    paths = []
    for number in range(parts):
        mine = {name: tensors[name] for name in names[number * each : (number + 1) * each]}
        path = folder / f"{stem}-{number + 1:05}-of-{parts:05}.gguf"
        paths.append(path)

        def describe(writer: gguf.GGUFWriter, number: int = number) -> None:
            if number == 0:
                describe_llama(writer, shape, tokenizer)
            writer.add_uint16("split.no", number)
            writer.add_uint16("split.count", parts)
            writer.add_int32("split.tensors.count", len(tensors))

        write(path, "llama", mine, describe)
    return paths


def zeros(**sides: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Half-precision zeros; `__` in a name stands for a dot."""
    return {name.replace("__", "."): np.zeros(shape, np.float16) for name, shape in sides.items()}


def write_projector(
    path: Path, *, width: int = 128, side_px: int = 64, seed: int = 0, audio: bool = False
) -> Path:
    """A projector in LLaVA's construction, which llama.cpp runs: random, so that another picture gives other
    tokens.

    Args:
        width: of the language model's stream.
        audio: it also claims to hear; for lists only.
    """
    random, inner, patch = np.random.default_rng(seed), 64, 16

    def matrix(*sides: int) -> np.ndarray:
        return (random.standard_normal(sides) / np.sqrt(sides[-1])).astype(np.float32)

    ones, none = np.ones(inner, np.float32), np.zeros(inner, np.float32)
    tensors = {
        "v.class_embd": matrix(inner), "v.patch_embd.weight": matrix(inner, 3, patch, patch),
        "v.position_embd.weight": matrix((side_px // patch) ** 2 + 1, inner),
        "v.pre_ln.weight": ones, "v.pre_ln.bias": none, "v.post_ln.weight": ones, "v.post_ln.bias": none,
        "mm.0.weight": matrix(width, inner), "mm.0.bias": np.zeros(width, np.float32),
        "mm.2.weight": matrix(width, width), "mm.2.bias": np.zeros(width, np.float32),
    }  # fmt: skip
    for layer in range(2):
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            tensors[f"v.blk.{layer}.{name}.weight"] = matrix(inner, inner)
            tensors[f"v.blk.{layer}.{name}.bias"] = none
        for name in ("ln1", "ln2"):
            tensors[f"v.blk.{layer}.{name}.weight"], tensors[f"v.blk.{layer}.{name}.bias"] = ones, none
        tensors[f"v.blk.{layer}.ffn_up.weight"] = matrix(2 * inner, inner)
        tensors[f"v.blk.{layer}.ffn_up.bias"] = np.zeros(2 * inner, np.float32)
        tensors[f"v.blk.{layer}.ffn_down.weight"] = matrix(inner, 2 * inner)
        tensors[f"v.blk.{layer}.ffn_down.bias"] = none

    def describe(writer: gguf.GGUFWriter) -> None:
        writer.add_type("mmproj")
        writer.add_bool("clip.has_vision_encoder", True)
        if audio:
            writer.add_bool("clip.has_audio_encoder", True)
        writer.add_string("clip.projector_type", "mlp")
        writer.add_bool("clip.use_gelu", True)
        for name, value in {
            "image_size": side_px, "patch_size": patch, "embedding_length": inner,
            "feed_forward_length": 2 * inner, "projection_dim": width, "block_count": 2,
            "attention.head_count": 2,
        }.items():  # fmt: skip
            writer.add_uint32(f"clip.vision.{name}", value)
        writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
        writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
        writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])

    return write(path, "clip", tensors, describe)


def write_bert(
    path: Path, *, pooling: gguf.PoolingType | None = gguf.PoolingType.MEAN, head: bool = False
) -> Path:
    """An embedding model's header, or with `head` a reranker's; zeros, not to be run."""
    width, tokens = 64, 100
    tensors = zeros(
        token_embd__weight=(tokens, width), position_embd__weight=(128, width),
        blk__0__attn_q__weight=(width, width),
        blk__0__attn_k__weight=(width, width), blk__0__attn_v__weight=(width, width),
        blk__0__ffn_up__weight=(2 * width, width), blk__0__ffn_down__weight=(width, 2 * width),
    )  # fmt: skip
    if head:
        tensors |= zeros(cls__weight=(width, width), cls__output__weight=(1, width))

    def describe(writer: gguf.GGUFWriter) -> None:
        writer.add_type("model")
        writer.add_block_count(1)
        writer.add_context_length(128)
        writer.add_embedding_length(width)
        writer.add_feed_forward_length(2 * width)
        writer.add_head_count(4)
        writer.add_causal_attention(False)
        if pooling is not None:
            writer.add_pooling_type(pooling)
        writer.add_tokenizer_model("bert")
        writer.add_token_list([f"w{number}" for number in range(tokens)])

    return write(path, "bert", tensors, describe)


def write_adapter(
    path: Path,
    *,
    architecture: str = "llama",
    shape: Shape | None = None,
    rank: int = 4,
    sort: str = "lora",
    seed: int = 0,
) -> Path:
    """A LoRA for the query matrices of `write_llama`, which llama.cpp applies."""
    shape, random = shape or Shape(), np.random.default_rng(seed)
    tensors = {}
    for layer in range(shape.layers):
        for letter, sides in (("a", (rank, shape.width)), ("b", (shape.width, rank))):
            values = random.standard_normal(sides).astype(np.float32)
            tensors[f"blk.{layer}.attn_q.weight.lora_{letter}"] = values

    def describe(writer: gguf.GGUFWriter) -> None:
        writer.add_type("adapter")
        writer.add_string("adapter.type", sort)
        writer.add_float32("adapter.lora.alpha", float(rank))

    return write(path, architecture, tensors, describe)
