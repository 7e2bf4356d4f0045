# SPDX-License-Identifier: Apache-2.0
"""The parts of one model and where they are: all on the device, or only the one that works."""

from typing import Any

import torch

from inglenook.workers.image.device import Device


class Parts:
    """Args:
    modules: by name, in host memory.
    device: where they work.
    """

    def __init__(self, modules: dict[str, torch.nn.Module], device: Device) -> None:
        self.modules: dict[str, Any] = modules
        self._device = device
        self._at_home: set[str] = set()
        self._only_the_working = False
        self._working: str | None = None

    def keep_at_home(self, name: str) -> None:
        """This part works in host memory, wherever the others do. Called before `place`."""
        self._at_home.add(name)

    def place(self, *, only_the_working: bool) -> None:
        """Move all parts to the device, or all of them back to host memory until they are used.

        On a CPU the two are the same place, and nothing moves. When the device is too small for all parts,
        those that had been moved are taken back before the error goes on.
        """
        self._only_the_working = only_the_working and self._device.torch.type != "cpu"
        self._working = None
        if self._only_the_working:
            self._take_back()
            return
        try:
            for name in self.modules:
                self._bring(name)
        except RuntimeError:
            self._take_back()
            raise

    def use(self, name: str) -> Any:
        """The part, where it works."""
        if self._only_the_working and self._working != name and name not in self._at_home:
            self._take_back()
            self._bring(name)
            self._working = name
        return self.modules[name]

    def exchange(self, name: str, module: torch.nn.Module) -> None:
        """Put another module, in host memory, in the place of a part; that one goes back to host memory.

        When the device is too small for the new one, the old one is back before the error goes on.
        """
        old = self.modules[name]
        there = not self._only_the_working and name not in self._at_home
        if self._device.torch.type != "cpu":
            old.to("cpu")
        if self._working == name:
            self._working = None
        self.modules[name] = module
        try:
            if there:
                self._bring(name)
        except RuntimeError:
            module.to("cpu")
            self.modules[name] = old
            self._bring(name)
            raise

    @property
    def device_bytes(self) -> int:
        """Bytes of weights on the device at once: of all parts, or of the largest."""
        sizes = [_bytes_of(module) for name, module in self.modules.items() if name not in self._at_home]
        return max(sizes) if self._only_the_working else sum(sizes)

    def _bring(self, name: str) -> None:
        if name not in self._at_home:
            self.modules[name].to(self._device.torch)

    def _take_back(self) -> None:
        self._working = None
        for module in self.modules.values():
            module.to("cpu")
        self._device.release()


def _bytes_of(module: torch.nn.Module) -> int:
    tensors = (*module.parameters(), *module.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
