# SPDX-License-Identifier: Apache-2.0
"""The handler of `Explain`: Grad-CAM (Selvaraju et al., 2017) of the last layer that still has places.

Convolutional networks: the last module of the backbone whose output has a height and a width. Vision
transformers: what goes into the last block's attention, where each token still stands for a place (after it,
only what is read out has a gradient).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from inglenook.wire.message import Message
from inglenook.wire.studio.evaluation import Explain, Explained
from inglenook.workers.studio.context import Context
from inglenook.workers.studio.data.pictures import UNREADABLE, read_picture
from inglenook.workers.studio.errors import NoData, UnknownModel
from inglenook.workers.studio.evaluation.overlay import overlay, seen_region, write_png
from inglenook.workers.studio.evaluation.telling import told
from inglenook.workers.studio.kept import Kept, load_kept


@dataclass(frozen=True, slots=True)
class Heat:
    """Attributes:
    map: float32 (h, w) in [0, 1], 1 at the place that speaks most for the class; all 0 where none does.
    layer: the module it was read from.
    """

    map: np.ndarray
    target: int
    probabilities: tuple[float, ...]
    layer: str


def explain(work: Explain, context: Context) -> Message:
    return told(work.job, lambda: _explained(work, context))


def _explained(work: Explain, context: Context) -> Message:
    kept = load_kept(Path(work.checkpoint))
    try:
        picture = read_picture(work.file)
    except UNREADABLE as error:
        raise NoData(f"The picture cannot be read: {error}") from error
    kept.network.to(context.device.torch)
    pixels = kept.pipeline()(picture)[None].to(context.device.torch)
    heat = grad_cam(kept, pixels, work.target)
    seen = seen_region(kept.steps, picture.width, picture.height)
    write_png(overlay(picture, heat.map, seen), Path(work.output))
    return Explained(job=work.job, target=heat.target, probabilities=heat.probabilities, layer=heat.layer)


def grad_cam(kept: Kept, pixels: torch.Tensor, target: int | None) -> Heat:
    """Args:
        pixels: float32 (1, channels, height, width), on the network's device.
        target: a class's number; None for the one that is predicted.

    Raises:
        NoData: there is no such class. UnknownModel: no layer of the network has places.
    """
    if target is not None and not 0 <= target < len(kept.classes):
        raise NoData(f"There is no class {target}; there are {len(kept.classes)}, from 0.")
    backbone = kept.network.backbone
    watch = _Watch(backbone)
    try:
        logits = kept.network(pixels.requires_grad_(True))[0].float()
    finally:
        watch.close()
    wanted = int(logits.argmax()) if target is None else target
    layer, values = watch.last()
    (slope,) = torch.autograd.grad(logits[wanted], values)
    values, slope = (_with_places(one.detach().float(), backbone) for one in (values, slope))
    weights = slope.mean(dim=(1, 2), keepdim=True)
    found = (weights * values).sum(dim=0).clamp(min=0)
    found = found / found.max().clamp(min=1e-12)
    chances = logits.detach().softmax(0)
    return Heat(
        map=np.nan_to_num(found.cpu().numpy().astype(np.float32)),
        target=wanted,
        probabilities=tuple(float(chance) for chance in chances),
        layer=layer,
    )


class _Watch:
    """Remembers the output of the last module that has places; of a transformer, of one that is known."""

    def __init__(self, backbone: nn.Module) -> None:
        self._found: tuple[str, torch.Tensor] | None = None
        known = _of_transformer(backbone)
        modules = backbone.named_modules() if known is None else [known]
        keep = self._maps if known is None else self._tokens
        self._hooks = [module.register_forward_hook(keep(name)) for name, module in modules]

    def _maps(self, name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1:
                self._found = (name, output)

        return hook

    def _tokens(self, name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: torch.Tensor) -> None:
            self._found = (name, output)

        return hook

    def last(self) -> tuple[str, torch.Tensor]:
        """Its name and its output. Raises UnknownModel."""
        if self._found is None:
            raise UnknownModel("No layer of this network has places: there is nothing to show.")
        return self._found

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()


def _of_transformer(backbone: nn.Module) -> tuple[str, nn.Module] | None:
    blocks = getattr(backbone, "blocks", None)
    if not hasattr(backbone, "patch_embed") or blocks is None or not hasattr(blocks[-1], "norm1"):
        return None
    return f"blocks.{len(blocks) - 1}.norm1", blocks[-1].norm1


def _with_places(values: torch.Tensor, backbone: nn.Module) -> torch.Tensor:
    """(1, C, h, w) or (1, tokens, C) to (C, h, w); tokens without a place are left out."""
    if values.ndim == 4:
        return values[0]
    height, width = backbone.patch_embed.grid_size
    tokens = values[0, values.shape[1] - height * width :]
    return tokens.T.reshape(-1, height, width)
