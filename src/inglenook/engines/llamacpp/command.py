# SPDX-License-Identifier: Apache-2.0
"""A launch as arguments of `llama-server`. Pure.

The names are today's; `tests/integration/test_llama_options.py` lets llama.cpp's own parser read them. What
a child must not do on its own account: fetch models (`--offline`; no repository or address is ever named),
serve files or its own pages, run tools, reach other servers, choose layers or context by itself (`--fit`).
"""

from inglenook.wire.llama import Launch, LoadLanguageModel

SPARE_HTTP_THREADS = 8
"""Beside one for each slot: for health, slots and helpers while all slots work."""


def arguments(launch: Launch) -> list[str]:
    """What stands after the program's name. Prompts and secrets never stand there: others can read it; the
    key of `launch` is given by `environment`."""
    load = launch.load
    host = (
        ["--host", launch.socket]
        if launch.socket is not None
        else ["--host", "127.0.0.1", "--port", str(launch.port)]
    )
    return [
        "--model", load.path, "--alias", load.alias, *host,
        "--offline", "--no-ui", "--jinja", "--metrics", "--slots", "--fit", "off", "--log-verbosity", "3",
        "--cors-origins", "localhost", "--threads-http", str(load.parallel + SPARE_HTTP_THREADS),
        "--ctx-size", str(load.context * load.parallel), "--parallel", str(load.parallel),
        "--kv-unified" if load.kv_unified else "--no-kv-unified", "--cache-ram", str(load.prompt_cache_mib),
        "--ctx-checkpoints", str(load.checkpoints),
        "--n-gpu-layers", str(load.gpu_layers),
        "--batch-size", str(load.batch), "--ubatch-size", str(load.ubatch),
        "--flash-attn", load.flash_attention,
        "--cache-type-k", load.cache_type_k, "--cache-type-v", load.cache_type_v,
        *_mode(load), *_threads(load), *_files(load), *_draft(load),
    ]  # fmt: skip


def environment(launch: Launch) -> dict[str, str]:
    return {} if launch.key is None else {"LLAMA_API_KEY": launch.key}


def _mode(load: LoadLanguageModel) -> list[str]:
    return {"chat": [], "embedding": ["--embeddings"], "rerank": ["--rerank"]}[load.mode]


def _threads(load: LoadLanguageModel) -> list[str]:
    return (
        [] if load.threads is None else ["--threads", str(load.threads), "--threads-batch", str(load.threads)]
    )


def _files(load: LoadLanguageModel) -> list[str]:
    given = (
        ["--no-mmproj"] if load.mmproj is None else ["--no-mmproj-offload"] if load.gpu_layers == 0 else []
    )
    for flag, value in (
        ("--mmproj", load.mmproj),
        ("--pooling", load.pooling),
        ("--chat-template-file", load.chat_template),
        ("--device", load.device),
    ):
        if value is not None:
            given += [flag, value]
    if load.loras:
        given += ["--lora-scaled", ",".join(f"{lora.path}:{lora.scale}" for lora in load.loras)]
    return given


def _draft(load: LoadLanguageModel) -> list[str]:
    if load.draft is None:
        return []
    return [
        "--spec-draft-model", load.draft, "--spec-type", "draft-simple",
        "--spec-draft-n-max", str(load.draft_max),
        "--spec-draft-ngl", str(load.draft_gpu_layers),
        "--spec-draft-type-k", load.cache_type_k, "--spec-draft-type-v", load.cache_type_v,
        *([] if load.threads is None else ["--spec-draft-threads", str(load.threads)]),
        *([] if load.device is None else ["--spec-draft-device", load.device]),
    ]  # fmt: skip
