# SPDX-License-Identifier: Apache-2.0
"""What a model can be asked for, whichever library it is drawn with. Pure."""

import math
from typing import Protocol

from inglenook.wire.image import MAX_SAVING, Draw
from inglenook.workers.image.errors import DrawInvalid


class Able(Protocol):
    """What a loaded model says of itself; see `families.family.Family`."""

    reads_clip: bool

    @property
    def multiple_px(self) -> int: ...

    @property
    def max_references(self) -> int: ...

    @property
    def sees_masked_picture(self) -> bool: ...


def check(draw: Draw, family: Able) -> None:
    """Raises `DrawInvalid` for what this model cannot draw; the server has seen to most of it before."""
    side = family.multiple_px
    if draw.steps < 1:
        raise DrawInvalid(f"steps is {draw.steps}; at least 1 is needed.", field="steps")
    if not draw.seeds or not all(0 <= seed < 2**63 for seed in draw.seeds):
        raise DrawInvalid("A Draw needs at least one seed, each from 0 to 2**63 - 1.", field="seeds")
    if min(draw.width, draw.height) < side or draw.width % side or draw.height % side:
        raise DrawInvalid(
            f"{draw.width} x {draw.height} pixels cannot be drawn: both must be multiples of {side}.",
            field="size",
        )
    if not math.isfinite(draw.guidance_scale):
        raise DrawInvalid(
            f"guidance_scale is {draw.guidance_scale}; a number is needed.", field="guidance_scale"
        )
    if draw.strength is not None and not 0 < draw.strength <= 1:
        raise DrawInvalid(f"strength is {draw.strength}; it lies above 0 and goes to 1.", field="strength")
    if not 0 <= draw.saving <= MAX_SAVING:
        raise DrawInvalid(f"saving is {draw.saving}; it goes from 0 to {MAX_SAVING}.", field="saving")
    if draw.preview_every < 0:
        raise DrawInvalid(f"preview_every is {draw.preview_every}; 0 is for none.", field="preview_every")
    if draw.mode in ("image", "inpaint") and draw.image is None:
        raise DrawInvalid(f"The mode {draw.mode!r} needs an image.", field="image")
    if draw.mode == "inpaint" and draw.mask is None:
        raise DrawInvalid("The mode 'inpaint' needs a mask.", field="mask")
    if not family.reads_clip:
        _check_no_clip(draw)
    _check_references(draw, family)
    _check_hires(draw, family)
    if draw.mode != "inpaint" and family.sees_masked_picture:
        raise DrawInvalid(
            "This is an inpainting model: it draws only with an image and a mask.",
            hint="give both, or choose a model without inpainting in its name",
            field="mode",
        )


def _check_no_clip(draw: Draw) -> None:
    if draw.clip_skip is not None:
        raise DrawInvalid(
            f"clip_skip is {draw.clip_skip}, but this model is not led by CLIP alone.",
            hint="leave it out",
            field="clip_skip",
        )
    if draw.embeddings:
        raise DrawInvalid("This model reads no textual inversions.", field="prompt")


def _check_references(draw: Draw, family: Able) -> None:
    given, most = len(draw.references), family.max_references
    if draw.mode == "edit" and not most:
        raise DrawInvalid(
            "This model follows no instructions about pictures.",
            hint="choose a model that edits, or the mode 'image' to begin from a picture",
            field="mode",
        )
    if draw.mode == "edit" and not given:
        raise DrawInvalid("The mode 'edit' needs at least one reference picture.", field="references")
    if given > most:
        raise DrawInvalid(
            f"{given} reference pictures were given; this model takes {most or 'none'}.", field="references"
        )


def _check_hires(draw: Draw, family: Able) -> None:
    """Raises `DrawInvalid` for a second pass that cannot be drawn."""
    hires = draw.hires
    if hires is None:
        return
    side = family.multiple_px
    if draw.mode not in ("text", "edit"):
        raise DrawInvalid(
            f"A second pass follows a picture that is drawn from noise; the mode is {draw.mode!r}.",
            hint="ask for the larger size itself",
            field="hires",
        )
    if hires.width % side or hires.height % side or hires.width < draw.width or hires.height < draw.height:
        raise DrawInvalid(
            f"The second pass cannot be {hires.width} x {hires.height} pixels: both must be multiples of "
            f"{side}, and not below those of the first ({draw.width} x {draw.height}).",
            field="hires",
        )
    if not (math.isfinite(hires.strength) and 0 < hires.strength <= 1):
        raise DrawInvalid(
            f"The strength of the second pass is {hires.strength}; it lies above 0 and goes to 1.",
            field="hires",
        )
    if hires.steps is not None and hires.steps < 1:
        raise DrawInvalid(f"The second pass has {hires.steps} steps; at least 1 is needed.", field="hires")
