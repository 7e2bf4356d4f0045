# SPDX-License-Identifier: Apache-2.0
"""What A1111's text says beyond words and sampler: LoRAs, clip skip, VAE, the second pass. Pure.

    a red fox <lora:style:0.8>                            LoRAs stand in the prompt
    …, Clip skip: 2, VAE: fine, Hires upscale: 2, Hires steps: 10, Hires upscaler: Latent

With a second pass, `Size` is that of the first one, and `Denoising strength` that of the second.
"""

import re
from collections.abc import Mapping
from typing import Any

_LORA = re.compile(r"[ \t]*<lora:([^<>:\n]{1,300}):(-?[0-9]{1,6}(?:\.[0-9]{1,12})?)(?::[^<>\n]{0,40})?>")
_BARE_LORA = re.compile(r"[ \t]*<lora:([^<>:\n]{1,300})>")
_UNSAFE = re.compile(r"[<>:\n]")
_WHOLE = re.compile(r"[0-9]{1,9}")
_REAL = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,12})?")
NAMES = frozenset({"Clip skip", "VAE", "Hires upscale", "Hires steps", "Hires upscaler"})


def lora_tags(parameters: Mapping[str, Any]) -> str:
    """What is put behind the prompt, " <lora:style:0.8>" for each; empty without LoRAs."""
    found = []
    for one in parameters.get("loras") or ():
        name = str(one.get("model", ""))
        if name and not _UNSAFE.search(name):
            found.append(f" <lora:{name}:{float(one.get('weight', 1.0)):g}>")
    return "".join(found)


def first_size(parameters: Mapping[str, Any]) -> tuple[Any, Any]:
    """Width and height of the first pass."""
    hires = parameters.get("hires") or {}
    return (
        hires.get("first_width", parameters.get("width")),
        hires.get("first_height", parameters.get("height")),
    )


def fields_of(parameters: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What is put behind the other fields of the last line; None is left out."""
    skip, hires = parameters.get("clip_skip"), parameters.get("hires") or {}
    width, first = hires.get("width"), hires.get("first_width")
    return [
        ("Clip skip", skip if skip is not None and skip > 1 else None),
        ("VAE", parameters.get("vae")),
        ("Hires upscale", f"{width / first:.6g}" if width and first else None),
        ("Hires steps", hires.get("steps")),
        ("Hires upscaler", {"latent": "Latent", "pixels": "Lanczos"}.get(hires.get("upscaler", ""))),
    ]


def strength_of(parameters: Mapping[str, Any]) -> Any:
    hires = parameters.get("hires") or {}
    return hires.get("strength", parameters.get("strength"))


def take_loras(prompt: str) -> tuple[str, list[dict[str, Any]]]:
    """The prompt without its LoRAs, and those, in their order."""
    loras: list[dict[str, Any]] = []

    def take(match: re.Match[str]) -> str:
        weight = float(match[2]) if match.re is _LORA else 1.0
        loras.append({"model": match[1].strip(), "weight": weight})
        return ""

    if "<lora:" not in prompt:
        return prompt, loras
    return _BARE_LORA.sub(take, _LORA.sub(take, prompt)), loras


def read(fields: Mapping[str, str], found: Mapping[str, Any]) -> dict[str, Any]:
    """What the fields named in `NAMES` say, and what they make of size and strength.

    Args:
        found: what was read already.

    Returns:
        What comes in addition or in place of it; None takes away. What cannot be read is not there.
    """
    read: dict[str, Any] = {}
    skip, vae = fields.get("Clip skip", ""), fields.get("VAE")
    if _WHOLE.fullmatch(skip):
        read["clip_skip"] = int(skip)
    if vae:
        read["vae"] = vae
    scale = fields.get("Hires upscale", "")
    width, height = found.get("width"), found.get("height")
    if not (_REAL.fullmatch(scale) and width and height):
        return read
    final = {"width": round(width * float(scale)), "height": round(height * float(scale))}
    steps, strength = fields.get("Hires steps", ""), found.get("strength")
    hires = {
        **final,
        "steps": int(steps) if _WHOLE.fullmatch(steps) and int(steps) else None,
        "strength": strength,
        "upscaler": "latent" if "latent" in fields.get("Hires upscaler", "").lower() else "pixels",
        "first_width": width,
        "first_height": height,
    }
    return read | final | {"strength": None, "hires": hires}
