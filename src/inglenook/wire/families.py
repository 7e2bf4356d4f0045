# SPDX-License-Identifier: Apache-2.0
"""The families of picture models and their variants, and what the server must know of each without loading.

A family is an architecture: which networks there are, and what they read. A variant is what its weights were
trained for: to follow instructions, to fill masks, to draw in few steps. Both are read from the content.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

TEXT, IMAGE, INPAINT, EDIT = "text", "image", "inpaint", "edit"
"""What a model can be asked for: from noise; from a picture by strength; inside a mask; by an instruction
about one or more pictures."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Attributes:
    name: as it stands in a catalogue record and on the wire; "" is the plain one.
    title: as a person reads it, after the family's title; "" for the plain one.
    modes: what it can be asked for.
    steps, guidance_scale, native_px: what differs from the family's; None where nothing does.
    negative_prompt: whether it can be told what not to draw.
    guided: whether `guidance_scale` changes anything.
    max_pictures: how many pictures an instruction may be about; 1 for all modes but `edit`.
    """

    name: str
    title: str = ""
    modes: frozenset[str] = frozenset({TEXT, IMAGE, INPAINT})
    steps: int | None = None
    guidance_scale: float | None = None
    native_px: int | None = None
    negative_prompt: bool = True
    guided: bool = True
    max_pictures: int = 1


@dataclass(frozen=True, slots=True)
class Family:
    """Attributes:
    name: as it stands in a catalogue record and on the wire.
    title: as a person reads it.
    multiple: width and height must be multiples of this many pixels.
    native_px: side in pixels of the pictures it was trained on, unless the model's own files say otherwise.
    steps, guidance_scale: what a request that names none gets.
    guidance_max: the end of the sensible range; more is accepted.
    flow: it predicts a flow rather than noise, which decides the schedulers that can follow it.
    clip: its text encoders are CLIP's: words can be weighted, long prompts are read in pieces of 75 tokens,
        `clip_skip` and textual inversions work.
    sizes: (width, height) that it was trained on, the default first.
    variants: by name; "" is always there.
    """

    name: str
    title: str
    multiple: int
    native_px: int
    steps: int
    guidance_scale: float
    guidance_max: float = 15.0
    flow: bool = False
    clip: bool = True
    sizes: tuple[tuple[int, int], ...] = ()
    variants: Mapping[str, Variant] = field(default_factory=dict)

    def variant(self, name: str) -> Variant:
        """The variant of that name, the plain one for a name that is not known."""
        return self.variants.get(name, self.variants[""])


def _named(*variants: Variant) -> Mapping[str, Variant]:
    return {variant.name: variant for variant in variants}


_INPAINT_ONLY = frozenset({INPAINT})
_SDXL_SIZES = (
    (1024, 1024), (1152, 896), (896, 1152), (1216, 832), (832, 1216), (1344, 768), (768, 1344),
    (1536, 640), (640, 1536),
)  # fmt: skip

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "sd1", "Stable Diffusion 1.x", multiple=8, native_px=512, steps=25, guidance_scale=7.5,
            sizes=((512, 512), (512, 768), (768, 512), (640, 640), (768, 768)),
            variants=_named(
                Variant(""),
                Variant("inpaint", "inpainting", _INPAINT_ONLY),
                Variant("lcm", "LCM", frozenset({TEXT, IMAGE, INPAINT}), steps=4, guidance_scale=8.5,
                        negative_prompt=False),
            ),
        ),
        Family(
            "sd2", "Stable Diffusion 2.x", multiple=8, native_px=768, steps=25, guidance_scale=7.5,
            sizes=((768, 768), (512, 768), (768, 512), (640, 960), (960, 640)),
            variants=_named(
                Variant(""),
                Variant("inpaint", "inpainting", _INPAINT_ONLY),
                Variant("turbo", "turbo", steps=4, guidance_scale=1.0, native_px=512),
            ),
        ),
        Family(
            "sdxl", "Stable Diffusion XL", multiple=8, native_px=1024, steps=25, guidance_scale=6.0,
            sizes=_SDXL_SIZES,
            variants=_named(
                Variant(""),
                Variant("inpaint", "inpainting", _INPAINT_ONLY),
                Variant("turbo", "turbo", steps=4, guidance_scale=1.0, native_px=512),
                Variant("lightning", "lightning", steps=4, guidance_scale=1.0),
                Variant("lcm", "LCM", steps=4, guidance_scale=8.0, negative_prompt=False),
            ),
        ),
        Family(
            "sd3", "Stable Diffusion 3", multiple=16, native_px=1024, steps=28, guidance_scale=4.5,
            flow=True, clip=False,
            sizes=((1024, 1024), (768, 1344), (1344, 768), (832, 1216), (1216, 832)),
            variants=_named(
                Variant(""),
                Variant("turbo", "turbo", steps=4, guidance_scale=1.0),
            ),
        ),
        Family(
            "flux", "FLUX.1", multiple=16, native_px=1024, steps=28, guidance_scale=3.5, guidance_max=10.0,
            flow=True, clip=False,
            sizes=((1024, 1024), (768, 1344), (1344, 768), (832, 1216), (1216, 832)),
            variants=_named(
                Variant("", "dev", negative_prompt=False),
                Variant("schnell", "schnell", steps=4, guidance_scale=0.0, negative_prompt=False,
                        guided=False),
                Variant("fill", "Fill", _INPAINT_ONLY, steps=50, guidance_scale=30.0, negative_prompt=False),
                Variant("kontext", "Kontext", frozenset({TEXT, EDIT, INPAINT}), guidance_scale=2.5,
                        negative_prompt=False),
            ),
        ),
        Family(
            "qwen-image", "Qwen-Image", multiple=16, native_px=1328, steps=50, guidance_scale=4.0,
            guidance_max=10.0, flow=True, clip=False,
            sizes=((1328, 1328), (928, 1664), (1664, 928), (1104, 1472), (1472, 1104), (1056, 1584),
                   (1584, 1056)),
            variants=_named(
                Variant(""),
                Variant("edit", "Edit", frozenset({EDIT}), native_px=1024),
                Variant("edit-plus", "Edit Plus", frozenset({EDIT}), native_px=1024, max_pictures=3),
            ),
        ),
    )
}  # fmt: skip
