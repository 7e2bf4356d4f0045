# SPDX-License-Identifier: Apache-2.0
"""A launch as the library's parameters: the same as `engines.llamacpp.command` says in arguments."""

from pathlib import Path
from typing import Any

from inglenook.wire.llama import Launch, LoadLanguageModel

SPARE_HTTP_THREADS = 8
"""Beside one for each slot: for health, slots and helpers while all slots work."""
NO_PROMPTS = 3
"""llama.cpp's verbosity up to information: the next one prints prompts."""


def parameters(launch: Launch, library: Any) -> Any:
    """`xllamacpp.CommonParams` for a launch.

    Raises:
        OSError, UnicodeDecodeError: the chat template cannot be read.
        ValueError: there is no such device.
    """
    load, params = launch.load, library.CommonParams()
    params.model.path = load.path
    params.model_alias = {load.alias}
    _listen(params, launch)
    _keep_in(params)
    params.n_ctx = load.context * load.parallel
    params.n_parallel = load.parallel
    params.kv_unified = load.kv_unified
    params.cache_ram_mib = load.prompt_cache_mib
    params.n_ctx_checkpoints = load.checkpoints
    params.n_gpu_layers = load.gpu_layers
    params.fit_params = False
    params.n_batch, params.n_ubatch = load.batch, load.ubatch
    params.flash_attn_type = _flash_attention(load, library)
    params.cache_type_k = _cache_type(load.cache_type_k, library)
    params.cache_type_v = _cache_type(load.cache_type_v, library)
    _think(params, load)
    _mode(params, load, library)
    _files(params, load, library)
    _device(params, load, library)
    _draft(params, load, library)
    return params


def _listen(params: Any, launch: Launch) -> None:
    params.hostnames = [launch.socket or "127.0.0.1"]
    params.port = launch.port or 0
    params.api_keys = [] if launch.key is None else [launch.key]
    params.cors_origins = "localhost"
    params.n_threads_http = launch.load.parallel + SPARE_HTTP_THREADS
    params.endpoint_metrics = params.endpoint_slots = True
    params.use_jinja = True
    params.verbosity = NO_PROMPTS


def _keep_in(params: Any) -> None:
    """It neither fetches, nor runs tools, nor shows pages, nor lets its settings be changed."""
    params.offline = True
    params.ui = params.ui_mcp_proxy = params.endpoint_props = False
    params.server_tools = []
    params.mcp_servers_config = params.mcp_servers_json = ""
    params.media_path = params.slot_save_path = ""
    params.video_ffmpeg_bin_dir = str(Path.cwd())  # the child's own folder: no such programs are there


def _think(params: Any, load: LoadLanguageModel) -> None:
    if load.threads is not None:
        for processors in (params.cpuparams, params.cpuparams_batch):
            processors.n_threads = load.threads
        for processors in (params.speculative.draft.cpuparams, params.speculative.draft.cpuparams_batch):
            processors.n_threads = load.threads


def _mode(params: Any, load: LoadLanguageModel, library: Any) -> None:
    params.embedding = load.mode != "chat"
    pooling = "rank" if load.mode == "rerank" else load.pooling
    if pooling is not None:
        params.pooling_type = library.llama_pooling_type[f"LLAMA_POOLING_TYPE_{pooling.upper()}"]


def _files(params: Any, load: LoadLanguageModel, library: Any) -> None:
    if load.mmproj is None:
        params.no_mmproj = True
    else:
        params.mmproj.path = load.mmproj
        params.mmproj_use_gpu = load.gpu_layers > 0
    if load.chat_template is not None:
        params.chat_template = Path(load.chat_template).read_text(encoding="utf-8")
    params.lora_adapters = [library.CommonAdapterLoraInfo(lora.path, lora.scale) for lora in load.loras]


def _device(params: Any, load: LoadLanguageModel, library: Any) -> None:
    """The library takes a number, counted among the devices that are no CPU."""
    if load.device is None:
        return
    cpu = library.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU
    names = [device["name"] for device in library.get_device_info() if device["type"] != cpu]
    if load.device not in names:
        raise ValueError(f"there is no device {load.device}; there are: {', '.join(names) or 'none'}")
    params.split_mode = library.llama_split_mode.LLAMA_SPLIT_MODE_NONE
    params.main_gpu = names.index(load.device)


def _draft(params: Any, load: LoadLanguageModel, library: Any) -> None:
    if load.draft is None:
        return
    draft = params.speculative.draft
    params.speculative.types = [library.common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
    draft.mparams.path = load.draft
    draft.n_max = load.draft_max
    draft.n_gpu_layers = load.draft_gpu_layers
    draft.cache_type_k = _cache_type(load.cache_type_k, library)
    draft.cache_type_v = _cache_type(load.cache_type_v, library)
    if load.device is not None:
        draft.devices = load.device


def _flash_attention(load: LoadLanguageModel, library: Any) -> Any:
    name = {"auto": "AUTO", "on": "ENABLED", "off": "DISABLED"}[load.flash_attention]
    return library.llama_flash_attn_type[f"LLAMA_FLASH_ATTN_TYPE_{name}"]


def _cache_type(name: str, library: Any) -> Any:
    return library.ggml_type[f"GGML_TYPE_{name.upper()}"]
