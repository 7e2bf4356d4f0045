# SPDX-License-Identifier: Apache-2.0
"""The families of picture models, and what the server must know of each without loading it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """Attributes:
    name: as it stands in a catalogue record and on the wire.
    title: as a person reads it.
    multiple: width and height must be multiples of this many pixels.
    native_px: side in pixels of the pictures it was trained on, unless the model's own files say otherwise.
    steps, guidance_scale: what a request that names none gets.
    """

    name: str
    title: str
    multiple: int
    native_px: int
    steps: int
    guidance_scale: float


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("sd1", "Stable Diffusion 1.x", multiple=8, native_px=512, steps=25, guidance_scale=7.5),
        Family("sd2", "Stable Diffusion 2.x", multiple=8, native_px=768, steps=25, guidance_scale=7.5),
        Family("sdxl", "Stable Diffusion XL", multiple=8, native_px=1024, steps=25, guidance_scale=6.0),
    )
}
