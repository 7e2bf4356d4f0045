# SPDX-License-Identifier: Apache-2.0
"""A launch as arguments of `llama-server`. Pure."""

from inglenook.wire.llama import Launch


def arguments(launch: Launch) -> list[str]:
    """What stands after the program's name. Prompts and secrets never stand there: others can read it."""
    load = launch.load
    given = [
        "--model", load.path, "--alias", load.alias, "--host", launch.socket, "--no-webui", "--jinja",
        "--metrics", "--slots",
        "--ctx-size", str(load.context * load.parallel), "--parallel", str(load.parallel),
        "--n-gpu-layers", str(load.gpu_layers),
        "--batch-size", str(load.batch), "--ubatch-size", str(load.ubatch),
        "--flash-attn", load.flash_attention,
        "--cache-type-k", load.cache_type_k, "--cache-type-v", load.cache_type_v,
    ]  # fmt: skip
    if load.threads is not None:
        given += ["--threads", str(load.threads)]
    if load.mode != "chat":
        given.append("--embedding" if load.mode == "embedding" else "--reranking")
    for flag, value in (
        ("--mmproj", load.mmproj),
        ("--pooling", load.pooling),
        ("--chat-template-file", load.chat_template),
        ("--device", load.device),
    ):
        if value is not None:
            given += [flag, value]
    if load.draft is not None:
        given += ["--model-draft", load.draft, "--draft-max", str(load.draft_max)]
    for lora in load.loras:
        given += ["--lora-scaled", lora.path, str(lora.scale)]
    return given
