# SPDX-License-Identifier: Apache-2.0
"""Transformers out of files that their makers named: each tensor's name, and where diffusers keeps it.

A table maps the stem of a name (what stands before `.weight` or `.bias`) to one new stem, or to several,
between which the rows are shared. Tensors that no table knows keep their name: later they are found not to
belong.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

Table = Mapping[str, str | Sequence[tuple[str, int]]]
"""Old stem → new stem, or (new stem, share of the rows) for each part."""

_KINDS = {"weight": "weight", "bias": "bias", "scale": "weight"}


@dataclass(frozen=True)
class Layout:
    """Attributes:
    top: stems outside of blocks.
    blocks: the name of a list of blocks → its new name, and the stems within each block.
    swapped: old stems whose two halves change places: shift and scale, in which the two name-givers differ.
    """

    top: Table
    blocks: Mapping[str, tuple[str, Table]]
    swapped: frozenset[str] = field(default_factory=frozenset)


def thirds(*stems: str) -> tuple[tuple[str, int], ...]:
    """Rows shared evenly, as where queries, keys and values are one matrix."""
    return tuple((stem, 1) for stem in stems)


def renamed(tensors: Mapping[str, torch.Tensor], layout: Layout) -> dict[str, torch.Tensor]:
    """The tensors under diffusers' names; parts of one tensor share its memory."""
    return {name: tensor for key in tensors for name, tensor in _parts(key, tensors[key], layout)}


def _parts(key: str, tensor: torch.Tensor, layout: Layout) -> Iterator[tuple[str, torch.Tensor]]:
    stem, _, kind = key.rpartition(".")
    if kind not in _KINDS:
        stem, kind, ending = key, "", ""
    else:
        ending = f".{_KINDS[kind]}"
    if stem in layout.swapped:
        shift, scale = tensor.chunk(2)
        tensor = torch.cat([scale, shift])
    target, place = _target(stem, layout)
    if target is None:
        yield key, tensor
    elif isinstance(target, str):
        yield place + target + ending, tensor
    else:
        row = tensor.shape[0] // sum(share for _, share in target)
        pieces = tensor.split([row * share for _, share in target])
        for (name, _), piece in zip(target, pieces, strict=True):
            yield place + name + ending, piece


def _target(stem: str, layout: Layout) -> tuple[str | Sequence[tuple[str, int]] | None, str]:
    """The new stem or stems, and the block that they lie in, with its point."""
    blocks, _, rest = stem.partition(".")
    if blocks not in layout.blocks:
        return layout.top.get(stem), ""
    number, _, inner = rest.partition(".")
    new, table = layout.blocks[blocks]
    return table.get(inner), f"{new}.{number}."
