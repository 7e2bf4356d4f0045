# SPDX-License-Identifier: Apache-2.0
"""How much memory a language model will need, before anybody has measured it. Pure.

The scheduler prefers what it learns; until then this errs upwards, moderately. What llama.cpp reserves:

    weights    the file's tensors. Layers, and the output after them, lie on the device from the last on, as
               many as `layers` says; the embeddings stay with the host. On a CPU, matrices of some types are
               kept a second time, in an order that suits the processor (`REPACKED`).
    cache      of each layer: keys and values of every token of every conversation, each rounded up to
               256 tokens; of a layer with a sliding window no more than the window and one batch; of a
               recurrent layer its state (4 bytes a number) of every conversation. Of these two sorts copies
               are kept in the host's memory (`checkpoints`).
    compute    intermediate results of one batch: for each of its tokens two times the feed-forward's columns,
               eight times the stream's and three times the query's, 4 bytes each; the mask, 2 bytes for each
               of the batch's and each of the cache's tokens; without flash attention 4, and 4 for each head;
               and what is written: the whole vocabulary for one token of each conversation, or for all of
               them where a model makes embeddings that also has an output.
    process    the program and its tokenizer; a driver's context on an accelerator.

The sources: `llama_kv_cache`, `llama_context::sched_reserve` and `llama_model::load_tensors` in llama.cpp's
`src/`, and what it logs. SmolLM2-135M (Q4_1, 92.1 MiB of weights), xllamacpp 2026.10.11549 on a CPU; in MiB,
what llama.cpp says it reserves and what the process holds after a first answer, and in brackets this module:

    context  slots  cache type  flash  batch   cache            compute          resident
    1024     1      f16         on       512    22.5 (22.5)      15.6 (19.8)     193 (220)
    4096     1      f16         on       512    90.0 (90.0)      18.6 (22.8)     260 (291)
    8192     1      f16         on       512   180.0 (180.0)     22.6 (26.8)     350 (385)
    2048     4      f16         on       512   180.0 (180.0)     16.6 (21.9)     351 (380)
    8192     4      f16         on       512   720.0 (720.0)     22.6 (27.9)     891 (926)
    4096     1      f16         off      512    90.0 (90.0)      87.5 (98.8)     261 (367)
    4096     1      q8_0        on       512    47.8 (47.8)      18.7 (22.8)     219 (249)
    4096     1      q4_0        on       512    25.3 (25.3)      18.7 (22.8)     196 (226)
    8192     1      f16         on      2048   180.0 (180.0)     90.6 (105.9)    350 (464)
    2048     1      f16         on      2048    45.0 (45.0)     414.6 (470.2)    234 (693)

(the last makes embeddings). Results are touched as far as a batch is full: the prompts here were short, so
each process held less than it will. Sliding windows (Gemma 3), states (Mamba) and compressed rows
(DeepSeek 2) were measured on tiny models of these architectures, where caches agree to the byte. A model of
4 layers of 1024 columns in Q4_0 took 34.5 MiB of weights and 32.6 MiB more for the reordered ones: 125 MiB
resident (166). Accelerators were not measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from inglenook.base.units import MIB
from inglenook.catalog.ggml import TYPES
from inglenook.catalog.model import LanguageFacts, LayerCache, ProjectorFacts

PAD_TOKENS: Final = 256
REPACKED: Final = frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"})
"""Types of which llama.cpp keeps a reordered copy on a processor with AVX2, beside the file's mapped
pages."""

PROCESS_BYTES: Final = 56 * MIB
WORD_BYTES: Final = 640
"""Of a tokenizer's word in memory, with what was merged into it."""

DRIVER_BYTES: Final[Mapping[str, int]] = {"cuda": 512 * MIB, "rocm": 512 * MIB, "vulkan": 192 * MIB}
"""What a process holds on an accelerator before it has loaded anything, with its libraries' workspace. Taken
from what such processes commonly show; not measured here."""

_BLOCKS: Final = {block.name.lower(): block for block in TYPES.values()}


@dataclass(frozen=True, slots=True)
class Use:
    """How a model is used.

    Attributes:
        context: tokens of a conversation; parallel: conversations.
        batch: tokens that are computed at once.
        cache_type_k, cache_type_v: as ggml calls them, in small letters.
        all_outputs: every token's output is wanted, as for embeddings.
        host_cache_bytes: for conversations that have lost their slot.
        checkpoints: copies that are kept, to go back to, of what a conversation's windowed and recurrent
            layers hold.
    """

    context: int
    parallel: int = 1
    batch: int = 512
    flash_attention: bool = True
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    all_outputs: bool = False
    host_cache_bytes: int = 0
    checkpoints: int = 3

    @property
    def cells(self) -> int:
        """Tokens of one conversation for which there is room."""
        return padded(self.context)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on the device, and in the machine's own memory beside it."""

    device: int = 0
    host: int = 0

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(self.device + other.device, self.host + other.host)

    @property
    def together(self) -> int:
        return self.device + self.host


def padded(tokens: int) -> int:
    return -(-tokens // PAD_TOKENS) * PAD_TOKENS


def all_layers(facts: LanguageFacts) -> int:
    """As llama.cpp counts what can lie on a device: the layers, and the output as one more."""
    return facts.layers + 1


def memory(facts: LanguageFacts, use: Use, *, layers: int) -> Memory:
    """What the model takes of a device and of its host, without process and driver.

    Args:
        layers: on the device, from the output backwards, 0 to `all_layers`.
    """
    first = facts.layers + 1 - min(layers, all_layers(facts))  # the first layer that lies on the device
    weights = Memory(
        sum(facts.layer_bytes[first:]) + (facts.output_bytes if layers > 0 else 0),
        sum(facts.layer_bytes[:first]) + facts.embedding_bytes + (0 if layers > 0 else _own_output(facts)),
    )
    caches = [cache_bytes(cache, use) for cache in facts.caches]
    kept = use.host_cache_bytes + _checkpoint_bytes(facts, caches, use)
    cache = Memory(sum(caches[first:]), sum(caches[:first]) + kept)
    compute = compute_bytes(facts, use)
    if layers == 0:
        return weights + cache + Memory(host=compute)
    crossing = use.batch * facts.width * 4 * 2  # what goes between the two
    return weights + cache + Memory(compute, crossing if layers == all_layers(facts) else compute)


def _own_output(facts: LanguageFacts) -> int:
    """Where all is in one place, a shared output is not held twice."""
    return facts.other_bytes - facts.embedding_bytes


def cpu_bytes(facts: LanguageFacts, use: Use) -> int:
    """What a process holds that does everything on the CPU: the whole of it, mapped files as well."""
    repacked = sum(size for name, size in facts.type_bytes.items() if name in REPACKED)
    return memory(facts, use, layers=0).host + repacked + process_bytes(facts)


def process_bytes(facts: LanguageFacts) -> int:
    return PROCESS_BYTES + WORD_BYTES * facts.vocabulary


def cache_bytes(cache: LayerCache, use: Use) -> int:
    """What one layer keeps of all conversations."""
    cells = use.cells
    if cache.window:
        cells = min(cells, padded(cache.window + use.batch))
    token = row_bytes(cache.key_values, use.cache_type_k) + row_bytes(cache.value_values, use.cache_type_v)
    return use.parallel * (cells * token + 4 * cache.state_values)


def _checkpoint_bytes(facts: LanguageFacts, caches: Sequence[int], use: Use) -> int:
    """Always in the host's memory."""
    held = sum(
        size for cache, size in zip(facts.caches, caches, strict=True) if cache.window or cache.state_values
    )
    return use.checkpoints * held


def row_bytes(values: int, kind: str) -> int:
    """Bytes of so many numbers stored as a type, in whole blocks.

    Raises:
        KeyError: ggml has no such type.
    """
    block = _BLOCKS[kind]
    return -(-values // block.values) * block.size_bytes


def compute_bytes(facts: LanguageFacts, use: Use) -> int:
    """Intermediate results of the largest batch, and what is written of it."""
    tokens = min(use.batch, use.cells * use.parallel)
    query = facts.heads * facts.key_width
    experts = 2 * facts.experts_used * facts.width
    columns = 2 * facts.feed_forward + 8 * facts.width + 3 * query + experts
    seen = (use.cells + _window_cells(facts, use)) if facts.causal else tokens
    attention = 2 if use.flash_attention else 4 + 4 * facts.heads
    outputs = tokens if use.all_outputs else use.parallel
    words = facts.vocabulary if facts.causal else 0
    return (
        tokens * (4 * columns + seen * attention)
        + outputs * 4 * (words + facts.width)
        + use.parallel * 4 * words
    )


def _window_cells(facts: LanguageFacts, use: Use) -> int:
    """Layers with a window have a mask of their own."""
    if not any(cache.window for cache in facts.caches):
        return 0
    return min(use.cells, padded(facts.sliding_window + use.batch))


def projector_bytes(facts: ProjectorFacts, weights_bytes: int) -> int:
    """Weights, and the intermediate results of one picture: sixteen times its columns for each token."""
    side = -(-facts.side_px // max(facts.patch_px, 1)) if facts.patch_px else 0
    return weights_bytes + 16 * 4 * side * side * facts.encoder_width + 16 * MIB


def shared_memory(use: Use, draft: LanguageFacts) -> Use:
    """How a draft model is used beside the one that it guesses for: it reads the same tokens."""
    return replace(use, context=min(use.context, draft.context or use.context), host_cache_bytes=0)
