# SPDX-License-Identifier: Apache-2.0
"""Textual inversions: vectors that stand in a prompt in place of a word. One `.safetensors` file each.

    emb_params, string_to_param…, or any one tensor    (vectors, width) for the text encoder of SD 1 and 2
    clip_l and clip_g                                  one for each text encoder of SDXL

A single vector may have no first axis.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from inglenook.wire.families import FAMILIES
from inglenook.wire.image import EmbeddingUse
from inglenook.workers.image.errors import DrawInvalid, LoadCorrupt, LoadUnsupported
from inglenook.workers.image.weights import Checkpoint

MAX_VECTORS = 75
"""As many as one piece of a prompt has room for."""

_MAX_TENSORS = 16
_OF_PART: Mapping[str, str] = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}
_WIDTHS: Mapping[tuple[int, ...], str] = {(768,): "sd1", (1024,): "sd2", (768, 1280): "sdxl"}


def read_embeddings(
    uses: Sequence[EmbeddingUse], widths: Mapping[str, int]
) -> dict[str, dict[str, torch.Tensor]]:
    """The vectors of all of them, by text encoder and word: float32 (vectors, width), in host memory.

    Args:
        widths: of each text encoder of the model: `text_encoder`, and `text_encoder_2` where there are two.

    Raises:
        DrawInvalid: a file is damaged, is none of these, or is made for another family.
    """
    found: dict[str, dict[str, torch.Tensor]] = {part: {} for part in widths}
    for use in uses:
        for part, vectors in _read(use, widths).items():
            found[part][use.word] = vectors
    return found


def _read(use: EmbeddingUse, widths: Mapping[str, int]) -> dict[str, torch.Tensor]:
    path = Path(use.path)
    try:
        file = Checkpoint(path)
        names = _names(file)
        shapes = [_shape(file, name) for name in names.values()]
        _check_shapes(use, shapes, widths)
        tensors = {part: file.tensors(name)[name] for part, name in names.items()}
    except (LoadCorrupt, LoadUnsupported) as error:
        raise _refused(use, str(error), error.hint) from error
    for tensor in tensors.values():
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor.float()).all()):
            raise _refused(use, f"{path.name} holds numbers that are not finite.")
    return {part: tensor.float().reshape(-1, tensor.shape[-1]) for part, tensor in tensors.items()}


def _names(file: Checkpoint) -> dict[str, str]:
    """The tensor for each text encoder."""
    if len(file.shapes) > _MAX_TENSORS:
        raise LoadUnsupported(
            f"{file.path.name} holds {len(file.shapes)} tensors; a textual inversion has one or two."
        )
    if {"clip_l", "clip_g"} <= set(file.shapes):
        return dict(_OF_PART)
    known = [name for name in file.shapes if name == "emb_params" or name.startswith("string_to_param")]
    names = known or list(file.shapes)
    if len(names) != 1:
        raise LoadUnsupported(
            f"{file.path.name} is no textual inversion: of its {len(file.shapes)} tensors none is "
            "emb_params, and they are not clip_l and clip_g."
        )
    return {"text_encoder": names[0]}


def _shape(file: Checkpoint, name: str) -> tuple[int, int]:
    shape = file.shapes[name]
    if len(shape) == 1:
        return 1, shape[0]
    if len(shape) != 2 or not 1 <= shape[0] <= MAX_VECTORS:
        raise LoadUnsupported(
            f"{file.path.name}: {name} has the shape {list(shape)}; 1 to {MAX_VECTORS} vectors are read."
        )
    return shape[0], shape[1]


def _check_shapes(use: EmbeddingUse, shapes: Sequence[tuple[int, int]], widths: Mapping[str, int]) -> None:
    has, wants = tuple(width for _, width in shapes), tuple(widths.values())
    if has != wants:
        family = _WIDTHS.get(has)
        made_for = f", as models of the family {FAMILIES[family].title} read" if family else ""
        raise _refused(
            use,
            f"its vectors have the width {_and(has)}{made_for}; this model reads {_and(wants)}.",
            "choose an embedding that was made for this family",
        )
    if len({vectors for vectors, _ in shapes}) > 1:
        raise _refused(use, f"it has {_and([n for n, _ in shapes])} vectors for the two text encoders.")


def _refused(use: EmbeddingUse, why: str, hint: str | None = None) -> DrawInvalid:
    return DrawInvalid(f"The textual inversion {use.word!r} cannot be read: {why}", hint=hint, field="prompt")


def _and(numbers: Sequence[int]) -> str:
    return " and ".join(str(number) for number in numbers)
