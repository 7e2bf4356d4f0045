# SPDX-License-Identifier: Apache-2.0
"""What a person may write beside a model, where its own files do not say it: `inglenook.json`.

In a model folder it is called `inglenook.json`; beside a single file, `<file>.inglenook.json`, as in
`fox.safetensors.inglenook.json`. Every field but `schema` may be left out:

    {"schema": 1, "title": "…", "description": "…", "licence": "…",
     "image": {"native_px": 32, "fixed": [[32, 32]], "width": 512, "height": 512,
               "steps": 14, "guidance_scale": 3.0, "min_px": 32,
               "variant": "turbo", "parts": {"vae": "ae", "text_encoder_2": "t5xxl_fp16"}},
     "vision": {"labels": ["cat", "dog"], "scores": "logits",
                "preprocessing": {"steps": [{"step": "resize", "size": [256]},
                                            {"step": "center_crop", "size": [224, 224]}]}}}

`variant` is for what shapes cannot tell (see `evidence.py`); "" is the plain one. `parts` names, by id or the
last part of one, which models lend a single file the components that it lacks.

An unknown field or a bad value makes the model unusable and names the field: a typo must not change pictures
silently. A UTF-8 byte order mark, which some editors write, is allowed.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from inglenook.catalog.errors import CorruptModel
from inglenook.catalog.model import ImageDefaults
from inglenook.vision.preprocessing import Preprocessing
from inglenook.wire.families import FAMILIES

NAME = "inglenook.json"
MAX_BYTES = 1024 * 1024
"""Labels of twenty thousand classes take half of it."""
SHAPED = frozenset({"inpaint", "fill"})
"""Variants that no file can be without weights of their own shapes."""

Side = Annotated[int, msgspec.Meta(ge=1, le=16384)]
Text = Annotated[str, msgspec.Meta(max_length=2000)]


class SidecarImage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See `catalog.model.ImageDefaults` and `ModelRecord`. `fixed` holds (width, height) pairs."""

    native_px: Side | None = None
    fixed: tuple[tuple[Side, Side], ...] = ()
    width: Side | None = None
    height: Side | None = None
    steps: Annotated[int, msgspec.Meta(ge=1, le=500)] | None = None
    guidance_scale: Annotated[float, msgspec.Meta(ge=0, le=50)] | None = None
    min_px: Side | None = None
    variant: Annotated[str, msgspec.Meta(max_length=40)] | None = None
    parts: dict[str, Annotated[str, msgspec.Meta(min_length=1, max_length=400)]] = {}


class SidecarVision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See `catalog.model.VisionFacts`."""

    labels: tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=200)], ...] | None = None
    scores: Literal["logits", "probabilities"] | None = None
    preprocessing: Preprocessing | None = None


class Sidecar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema: Literal[1]
    title: Annotated[str, msgspec.Meta(max_length=200)] = ""
    description: Text = ""
    licence: Text | None = None
    image: SidecarImage = SidecarImage()
    vision: SidecarVision = SidecarVision()


_decoder = msgspec.json.Decoder(Sidecar)


def sidecar_path(model: Path) -> Path:
    """Where the sidecar of a model folder, or of a single file, would be."""
    return model / NAME if model.is_dir() else model.with_name(f"{model.name}.{NAME}")


def read_sidecar(model: Path) -> Sidecar | None:
    """The sidecar of a model, or None where there is none.

    Raises:
        CorruptModel: it is too long, not JSON, or a field is unknown or out of range; the message names it.
        OSError: it cannot be read.
    """
    path = sidecar_path(model)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(data) > MAX_BYTES:
        raise CorruptModel(f"{path.name} is longer than {MAX_BYTES} bytes.")
    return parse_sidecar(data, name=path.name)


def parse_sidecar(data: bytes, *, name: str) -> Sidecar:
    """Decode and check. Raises `CorruptModel` naming the field."""
    try:
        return _decoder.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise CorruptModel(f"{name}: {where.rstrip('`') or 'the document'}: {what}.") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise CorruptModel(f"{name} is not JSON: {error}.") from None


def chosen_variant(family: str, sidecar: SidecarImage, *, found: str, shaped: bool, name: str) -> str:
    """The variant that counts: the sidecar's where it names one, else the one that was found.

    Args:
        shaped: `found` follows from the weights' shapes.

    Raises:
        CorruptModel: the family has no such variant, or the shapes say otherwise.
    """
    wanted = sidecar.variant
    if wanted is None or wanted == found:
        return found
    variants = FAMILIES[family].variants
    if wanted not in variants:
        able = ", ".join(repr(variant) for variant in variants)
        raise CorruptModel(
            f"{name}: image.variant: {FAMILIES[family].title} has no variant {wanted!r}; it has {able}."
        )
    if shaped or wanted in SHAPED:
        raise CorruptModel(
            f"{name}: image.variant: it says {wanted!r}, but the weights' shapes say {found or 'plain'!r}."
        )
    return wanted


def apply(defaults: ImageDefaults, sidecar: SidecarImage, *, name: str) -> ImageDefaults:
    """`defaults` with what the sidecar says instead.

    A `native_px` alone also becomes the default size; a `fixed` list alone tells `native_px` and `min_px`.
    Sizes to offer are no longer the family's where any of these is given.

    Raises:
        CorruptModel: only one of width and height is given.
    """
    if (sidecar.width is None) != (sidecar.height is None):
        raise CorruptModel(
            f"{name}: image.{'width' if sidecar.width is None else 'height'}: missing; give both or neither."
        )
    if sidecar.fixed:
        first = sidecar.fixed[0]
        defaults = replace(
            defaults, fixed=sidecar.fixed, native_px=max(first), width=first[0], height=first[1],
            min_px=min(side for size in sidecar.fixed for side in size),
        )  # fmt: skip
    if sidecar.native_px is not None:
        native = sidecar.native_px
        defaults = replace(defaults, native_px=native, min_px=min(defaults.min_px, native))
        if not sidecar.fixed:
            defaults = replace(defaults, width=native, height=native)
    if sidecar.fixed or sidecar.native_px is not None or sidecar.width is not None:
        defaults = replace(defaults, sizes=sidecar.fixed)
    given = {
        field: value
        for field in ("width", "height", "steps", "guidance_scale", "min_px")
        if (value := getattr(sidecar, field)) is not None
    }
    return replace(defaults, **given)
