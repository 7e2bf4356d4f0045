# SPDX-License-Identifier: Apache-2.0
"""The drawing form filled again, from what was drawn. Pure."""

from collections.abc import Mapping
from typing import Any

from inglenook.web import form
from inglenook.web.form import LoraRow, Values

VARY_STRENGTH = "0.5"


def of_picture(parameters: Mapping[str, Any]) -> Values:
    """The form that makes a picture again, its seed included, from the parameters that were kept with it."""
    hires = parameters.get("hires") or {}
    size = (
        hires.get("first_width", parameters.get("width")),
        hires.get("first_height", parameters.get("height")),
    )
    return _again(parameters, size).changed(n="1")


def of_job(drawing: Mapping[str, Any], *, seed: str) -> Values:
    """The form that asks for a job again, from its payload (`images.request.Drawing`).

    Args:
        seed: as it was typed; "" draws a new one.
    """
    sides = ("width", "height") if drawing.get("hires") else ("out_width", "out_height")
    size = (drawing.get(sides[0]), drawing.get(sides[1]))
    count = len(drawing.get("seeds") or (0,))
    return _again(drawing, size).changed(n=str(count), seed=seed)


def varied(values: Values, *, source: str | None = None) -> Values:
    """The same with a new seed; with `source` (a picture's id) it begins with that picture."""
    if source is None:
        return values.changed(seed="")
    return values.changed(
        seed="", inputs=(source,), strength=VARY_STRENGTH, mask_id="", hires="", size="", width="", height=""
    )


def _again(kept: Mapping[str, Any], size: tuple[Any, Any]) -> Values:
    texts = {
        name: _plain(kept[name]) for name in form.FIELDS if kept.get(name) is not None and name != "hires"
    }
    if kept.get("style"):
        texts["prompt"] = str(kept.get("plain_prompt", ""))
        texts["negative_prompt"] = str(kept.get("plain_negative_prompt", ""))
    # The model tells it but for this one, which draws with the models of another.
    texts["engine"] = "sdcpp" if kept.get("engine") == "sdcpp" else ""
    width, height = size
    texts |= {"size": f"{width}x{height}" if width and height else ""}
    texts |= {"width": str(width or ""), "height": str(height or "")}
    texts |= {"transparent": "on" if kept.get("transparent") else "", "mask_id": str(kept.get("mask") or "")}
    texts |= _second_pass(kept.get("hires"), size)
    inputs = [kept.get("image"), *(kept.get("more_images") or ())]
    return form.blank().changed(
        loras=[LoraRow(str(it["model"]), _plain(it["weight"])) for it in kept.get("loras") or ()],
        inputs=[str(blob) for blob in inputs if blob],
        **texts,
    )


def _second_pass(hires: Mapping[str, Any] | None, size: tuple[Any, Any]) -> dict[str, str]:
    if not hires:
        return {}
    scale = "" if not size[0] else _plain(round(float(hires["width"]) / float(size[0]), 3))
    steps = hires.get("steps")
    return {
        "hires": "on",
        "hires_scale": scale,
        "hires_strength": _plain(hires["strength"]),
        "hires_steps": "" if steps is None else str(steps),
        "hires_upscaler": str(hires["upscaler"]),
    }


def _plain(value: object) -> str:
    """``3.0`` is typed as ``3``."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
