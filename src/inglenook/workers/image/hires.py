# SPDX-License-Identifier: Apache-2.0
"""The second, larger pass over a picture: enlarged, some noise put back, and drawn to the end once more.

Composition comes from the first pass, at a size that the model was trained on; detail from the second. Of the
two ways to enlarge, `pixels` decodes, enlarges by Lanczos and encodes, which keeps edges sharp; `latent`
enlarges the latents themselves, which costs nothing and is soft, so it needs more strength.
"""

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from inglenook.wire.image import Draw
from inglenook.workers.image.denoise import Plan, Source
from inglenook.workers.image.families.family import Family, Text, as_input


def second_plan(draw: Draw, first: Plan, text: Text) -> Plan:
    """What the second passes of all pictures share; its source has no picture yet.

    Args:
        text: the prompts, read for the larger size.
    """
    hires = draw.hires
    assert hires is not None
    return replace(
        first,
        text=text,
        steps=draw.steps if hires.steps is None else hires.steps,
        width=hires.width,
        height=hires.height,
        source=Source(None, hires.strength),
    )


def from_latents(family: Family, plan: Plan, latents: torch.Tensor) -> Plan:
    """The plan of the second pass with the latents of the first as its picture, enlarged."""
    assert plan.source is not None
    size = family.latent_shape(plan.width, plan.height)[-2:]
    enlarged = torch.nn.functional.interpolate(latents, size=size, mode="bicubic", align_corners=False)
    return replace(plan, source=replace(plan.source, latents=enlarged))


def from_pixels(family: Family, plan: Plan, pixels: np.ndarray) -> Plan:
    """The same with the decoded picture of the first pass, uint8 (height, width, 3)."""
    assert plan.source is not None
    picture = Image.fromarray(pixels).resize((plan.width, plan.height), Image.Resampling.LANCZOS)
    return replace(plan, source=replace(plan.source, image=family.posterior(as_input(np.asarray(picture)))))
