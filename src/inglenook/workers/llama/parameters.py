# SPDX-License-Identifier: Apache-2.0
"""A launch as the library's parameters."""

from typing import Any

from inglenook.wire.llama import Launch


def parameters(launch: Launch, library: Any) -> Any:
    """`xllamacpp.CommonParams` for a launch."""
    load, params = launch.load, library.CommonParams()
    params.model.path = load.path
    params.model_alias = {load.alias}
    params.hostnames = [launch.socket]
    params.ui = False
    params.use_jinja = True
    params.endpoint_metrics = params.endpoint_slots = params.endpoint_props = True
    params.n_ctx = load.context * load.parallel
    params.n_parallel = load.parallel
    params.n_gpu_layers = load.gpu_layers
    params.n_batch, params.n_ubatch = load.batch, load.ubatch
    if load.threads is not None:
        params.cpuparams.n_threads = load.threads
        params.cpuparams_batch.n_threads = load.threads
    params.embedding = load.mode == "embedding"
    return params
