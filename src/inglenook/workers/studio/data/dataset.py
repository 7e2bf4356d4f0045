# SPDX-License-Identifier: Apache-2.0
"""One example at a time, and a batch of them. Runs in loader processes too, so it holds nothing but plain
values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import Dataset

from inglenook.wire.studio.spec import Example
from inglenook.workers.studio.data.pictures import UNREADABLE, read_picture
from inglenook.workers.studio.data.sampling import Key, seed_of


@dataclass(frozen=True, slots=True)
class Shown:
    """`pixels`: float32 (channels, height, width). `target`: as the task made it."""

    key: Key
    pixels: torch.Tensor
    target: Any


@dataclass(frozen=True, slots=True)
class Unread:
    key: Key
    why: str


@dataclass(slots=True)
class PictureBatch:
    """`pixels`: float32 (examples, channels, height, width), or None when not one could be read.
    `targets`: as the task stacked them. `keys`: of those that could be read, in their order."""

    pixels: torch.Tensor | None
    targets: Any
    keys: list[Key]
    unread: list[Unread] = field(default_factory=list)

    def pin_memory(self) -> "PictureBatch":
        if self.pixels is not None:
            self.pixels = self.pixels.pin_memory()
            self.targets = self.targets.pin_memory() if hasattr(self.targets, "pin_memory") else self.targets
        return self

    def __len__(self) -> int:
        return len(self.keys)


class Examples(Dataset[Shown | Unread]):
    """Args:
    examples: of one part.
    transform: PIL picture to float32 tensor; draws from torch's default generator only.
    target: the task's form of a target.
    seed: of what is drawn.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        transform: Callable[[Any], torch.Tensor],
        target: Callable[[Any], Any],
        seed: int,
    ) -> None:
        self._examples = examples
        self._transform = transform
        self._target = target
        self._seed = seed

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, key: Key) -> Shown | Unread:
        example = self._examples[key.index]
        try:
            picture = read_picture(example.file)
        except UNREADABLE as error:
            return Unread(key, f"{type(error).__name__}: {error}"[:300])
        # The default generator belongs to the training (dropout draws from it): it is borrowed, and given
        # back as it was. `torch.manual_seed` would also seed every GPU.
        generator = torch.default_generator
        before = generator.get_state()
        generator.manual_seed(seed_of(self._seed, key))
        try:
            pixels = self._transform(picture)
        finally:
            generator.set_state(before)
        return Shown(key, pixels, self._target(example.target))


class Collate:
    """Args:
    stack: the task's: a list of targets to what its loss takes.
    """

    def __init__(self, stack: Callable[[list[Any]], Any]) -> None:
        self._stack = stack

    def __call__(self, items: Sequence[Shown | Unread]) -> PictureBatch:
        shown = [item for item in items if isinstance(item, Shown)]
        unread = [item for item in items if isinstance(item, Unread)]
        if not shown:
            return PictureBatch(None, None, [], unread)
        pixels = torch.utils.data.default_collate(
            [item.pixels for item in shown]
        )  # shared memory in a loader
        return PictureBatch(
            pixels, self._stack([item.target for item in shown]), [i.key for i in shown], unread
        )
