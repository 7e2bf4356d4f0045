# SPDX-License-Identifier: Apache-2.0
"""On which kinds of device a llama.cpp can load a model: those that it was built for."""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from inglenook.runtime.contracts import ChildFailed, DeviceKind

log = logging.getLogger(__name__)

EVERY: Final[frozenset[DeviceKind]] = frozenset({"cuda", "rocm", "vulkan", "mps", "cpu"})
_OF: Final[Mapping[str, frozenset[DeviceKind]]] = {
    "CUDA": frozenset({"cuda"}),
    "ROCm": frozenset({"rocm"}),
    "Metal": frozenset({"mps"}),
    "Vulkan": frozenset({"vulkan", "cuda", "rocm"}),
}
"""By what a build is called. Vulkan drives the cards of every maker."""


def kinds_of(builds: Iterable[str]) -> frozenset[DeviceKind]:
    """The CPU is always among them."""
    found: set[DeviceKind] = {"cpu"}
    for build in builds:
        found |= _OF.get(build, frozenset())
    return frozenset(found)


class Kinds:
    """Args:
    builds: what the llama.cpp was built for that would be started now; may block; raises ChildFailed where
        there is none.
    here: kinds of the devices of this machine: with a CPU alone nobody is asked.
    """

    def __init__(self, *, builds: Callable[[], Iterable[str]], here: Iterable[DeviceKind]) -> None:
        self._builds = builds
        self._here = frozenset(here)

    def __call__(self) -> frozenset[DeviceKind]:
        if self._here <= {"cpu"}:
            return EVERY
        try:
            return kinds_of(self._builds())
        except ChildFailed as error:  # said by whoever starts a model, in full
            log.debug("no llama.cpp can be asked what it was built for: %s", error)
            return EVERY
