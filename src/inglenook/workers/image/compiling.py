# SPDX-License-Identifier: Apache-2.0
"""The denoising network, compiled where that is asked for; where it cannot be, drawn with as it is.

Compiling happens at the first step, and again for a new size or another set of LoRAs. What it makes is kept
in a folder, so the next process finds it.
"""

import logging
import os
from pathlib import Path
from typing import Any

import torch

from inglenook.workers.image.device import Device
from inglenook.workers.image.memory import evidence_of

log = logging.getLogger(__name__)


class Compiled:
    """Args:
    network: compiled in place from its next call on.
    mode: of `torch.compile`.
    cache: an existing folder for compiled code; None leaves it to the library.
    """

    def __init__(self, network: torch.nn.Module, mode: str, cache: Path | None, device: Device) -> None:
        if cache is not None:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache)
            os.environ["TORCHINDUCTOR_FX_GRAPH_CACHE"] = "1"
            os.environ["TRITON_CACHE_DIR"] = str(cache / "triton")
        self._network: Any = network
        self._device = device
        self._trouble: str | None = None
        self._mode = mode
        self._begun = False
        network.compile(mode=mode)
        self._call = self._network._compiled_call_impl
        self._network._compiled_call_impl = self._attempt

    def trouble(self) -> str | None:
        """Why it is not compiled, told once."""
        trouble, self._trouble = self._trouble, None
        return trouble

    def _attempt(self, *args: Any, **kwargs: Any) -> Any:
        if not self._begun:  # nothing else tells why the first step takes minutes
            self._begun = True
            log.info("the network is being compiled (%s); the first step waits for it", self._mode)
        try:
            return self._call(*args, **kwargs)
        except torch._dynamo.exc.TorchDynamoException as error:
            if evidence_of(error, self._device) is not None:
                raise
            self._give_up(error)
        return self._network(*args, **kwargs)

    def _give_up(self, error: Exception) -> None:
        self._network._compiled_call_impl = None
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        log.warning("the network cannot be compiled: %s", type(error).__name__)
        self._trouble = (
            f"The network could not be compiled and is used as it is, which is slower ({reason[:200]}). "
            "A C++ compiler is needed for it; images.compile: off makes no attempt."
        )
