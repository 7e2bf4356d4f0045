# SPDX-License-Identifier: Apache-2.0
"""How llama.cpp's server is to hold one model.

Our own launcher reads it as JSON; for a `llama-server` that is a program of its own,
`engines.llamacpp.command` turns it into arguments. Both then speak the same HTTP.
"""

from typing import Final, Literal

import msgspec

Mode = Literal["chat", "embedding", "rerank"]
FlashAttention = Literal["auto", "on", "off"]
Pooling = Literal["none", "mean", "cls", "last", "rank"]

CACHE_TYPES: Final = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
"""Types in which keys and values may be kept."""


class Adapter(msgspec.Struct, frozen=True, kw_only=True):
    """A LoRA in a GGUF file, and how strongly it works."""

    path: str
    scale: float = 1.0


class LoadLanguageModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model in one process.

    Attributes:
        path: the GGUF file; of a split model the first part.
        alias: the model's id, which its answers name; without a comma.
        mode: what it is asked for first, and made ready for.
        context: tokens of one conversation; the process holds `context` × `parallel`.
        parallel: conversations at once (slots).
        gpu_layers: how many layers lie on the device, from the last; 0 on a CPU.
        threads: None leaves it to the engine.
        batch, ubatch: tokens that are taken at once, and that are computed at once. A request that is given
            up while its prompt is read stops after one `batch`.
        flash_attention: needed for a `cache_type_v` other than f32, f16 and bf16.
        cache_type_k, cache_type_v: of `CACHE_TYPES`, also for the draft model.
        kv_unified: one store of tokens for all conversations: each may be as long as all together.
        prompt_cache_mib: of the machine's memory, for conversations that have lost their slot; 0 for none.
            It is filled while the model works: a footprint must hold it.
        checkpoints: copies of a conversation's state that models with sliding windows or recurrent layers
            keep in the machine's memory, to go back to; a footprint must hold them.
        mmproj: a vision or audio projector. draft: a smaller model that guesses ahead.
        draft_max: tokens that are guessed at once at most. draft_gpu_layers: as `gpu_layers`, of the draft.
        loras: applied in all conversations.
        pooling: of embeddings; None leaves it to the model.
        chat_template: a Jinja file instead of the model's own template.
        device: as ggml calls it (`CUDA0`, `Vulkan0`); None leaves it to what the engine lets it see.
    """

    path: str
    alias: str
    mode: Mode = "chat"
    context: int
    parallel: int = 1
    gpu_layers: int = 0
    threads: int | None = None
    batch: int = 2048
    ubatch: int = 512
    flash_attention: FlashAttention = "auto"
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    kv_unified: bool = False
    prompt_cache_mib: int = 0
    checkpoints: int = 3
    mmproj: str | None = None
    draft: str | None = None
    draft_max: int = 16
    draft_gpu_layers: int = 0
    loras: tuple[Adapter, ...] = ()
    pooling: Pooling | None = None
    chat_template: str | None = None
    device: str | None = None


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What our own launcher (`python -m inglenook.workers.llama FILE`) reads from the file it is given.

    Attributes:
        socket: the Unix socket on which it answers; nobody but the server's own user can open it.
        port, key: where there are no Unix sockets: the port on 127.0.0.1, and the key that requests show.
    """

    load: LoadLanguageModel
    socket: str | None = None
    port: int | None = None
    key: str | None = None
