# SPDX-License-Identifier: Apache-2.0
"""The drawing form: what a person typed, as text, and what it means as an `ImageRequest`. Pure.

An empty field means "as the model likes it"; what was typed is kept as it was typed until it is accepted.
Ranges are checked where requests are accepted (`images`); here only text becomes numbers.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

from inglenook.base.errors import InglenookError, Invalid
from inglenook.base.ids import BlobId, ModelId
from inglenook.images.canvas import Margins, Rectangle
from inglenook.images.model import Engine, HiresFix, ImageRequest, LoraChoice, Mode, OutputFormat

SIDES = ("left", "top", "right", "bottom")
EXTEND = tuple(f"extend_{side}" for side in SIDES)
RECTANGLE = ("mask_left", "mask_top", "mask_width", "mask_height")
HIRES = ("hires", "hires_scale", "hires_strength", "hires_steps", "hires_upscaler")
FIELDS = (
    "prompt",
    "negative_prompt",
    "model",
    "engine",
    "style",
    "size",
    "width",
    "height",
    "n",
    "seed",
    "steps",
    "guidance_scale",
    "scheduler",
    "sigmas",
    "clip_skip",
    "vae",
    "strength",
    "mask_id",
    *RECTANGLE,
    *EXTEND,
    *HIRES,
    "output_format",
    "output_compression",
    "transparent",
)
"""Fields with one value each. Beside them a form has rows of `lora` and `lora_weight`, and of `input`."""
FILES = ("image", "mask")
_TOGETHER = {"width", "height", "mask_id", *RECTANGLE, *EXTEND, *HIRES}
PLACES = (*(name for name in FIELDS if name not in _TOGETHER), "image", "mask", "extend", "hires", "loras")
"""Where an error can stand on the form."""
CUSTOM = "custom"
ENGINES: Mapping[Engine, str] = {
    Engine.AUTO: "the best that is here",
    Engine.TORCH: "PyTorch",
    Engine.MLX: "MLX",
    Engine.SDCPP: "stable-diffusion.cpp",
}
"""What the form calls the programs that draw."""
PREVIEWS = 12
"""Previews the page asks for, spread over the steps of a picture."""

_SHOWN_AT = (
    {"width": "size", "height": "size", "guidance": "guidance_scale", "id": "model", "more_images": "image"}
    | dict.fromkeys(EXTEND, "extend")
    | dict.fromkeys(HIRES, "hires")
    | dict.fromkeys((*RECTANGLE, "mask_id"), "mask")
)
_SPOKEN = {"n": "number of pictures", "steps": "number of steps", "guidance_scale": "guidance"}
"""What people call a field whose name stands in a message."""
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")

Number = TypeVar("Number", int, float)


# -- what was typed --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoraRow:
    """A LoRA as it was chosen: its id, "" for none, and its weight as it was typed."""

    model: str
    weight: str = ""


@dataclass(frozen=True, slots=True)
class Values:
    """Everything on the form, as text.

    Attributes:
        texts: by name, all of `FIELDS`; read them as `values["steps"]`.
        loras: in the order of the rows.
        inputs: input pictures in their order: blob ids of uploads, ids of gallery pictures.
    """

    texts: Mapping[str, str]
    loras: tuple[LoraRow, ...] = ()
    inputs: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> str:
        return self.texts[name]

    def changed(
        self,
        *,
        loras: Sequence[LoraRow] | None = None,
        inputs: Sequence[str] | None = None,
        **texts: str,
    ) -> "Values":
        return Values(
            {**self.texts, **texts},
            self.loras if loras is None else tuple(loras),
            self.inputs if inputs is None else tuple(inputs),
        )


def blank() -> Values:
    return Values(dict.fromkeys(FIELDS, "") | {"n": "1"})


def typed(data: Mapping[str, str] | Iterable[tuple[str, str]]) -> Values:
    """The values of a posted form (or a query), every field present, line ends as elsewhere.

    Args:
        data: names and values; `lora`, `lora_weight` and `input` may come several times.
    """
    pairs = list(data.items() if isinstance(data, Mapping) else data)
    texts = dict(blank().texts)
    rows: dict[str, list[str]] = {"lora": [], "lora_weight": [], "input": [], "leave_out": []}
    for name, value in pairs:
        if name in texts:
            texts[name] = value.replace("\r\n", "\n") if "prompt" in name else value.strip()
        elif name in rows:
            rows[name].append(value.strip())
    weights = rows["lora_weight"] + [""] * len(rows["lora"])
    loras = tuple(LoraRow(lora, weight) for lora, weight in zip(rows["lora"], weights, strict=False) if lora)
    inputs = tuple(dict.fromkeys(it for it in rows["input"] if it and it not in rows["leave_out"]))
    return Values(texts, loras, inputs)


# -- errors ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One error as it stands beside a field, or above the form when no field is to blame."""

    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Problems:
    """Errors by place on the form; "" holds the one that belongs to no field."""

    by_field: Mapping[str, FieldProblem] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.by_field)

    def get(self, name: str) -> FieldProblem | None:
        return self.by_field.get(name)


class FormInvalid(Invalid):
    """At least one field holds text that is no number; `problems` names them all."""

    default_code = "form.invalid"

    def __init__(self, problems: Problems) -> None:
        name, first = next(iter(problems.by_field.items()))
        super().__init__(first.message, hint=first.hint, field=name)
        self.problems = problems


def problems_of(error: InglenookError) -> Problems:
    """Where on the form an error from below belongs."""
    if isinstance(error, FormInvalid):
        return error.problems
    name = "" if error.field is None else _SHOWN_AT.get(error.field, error.field)
    return Problems({name if name in PLACES else "": FieldProblem(_spoken(error.message), error.hint)})


def _spoken(message: str) -> str:
    """``n is 9; …`` → ``number of pictures is 9; …``."""
    first = message.partition(" ")[0]
    return _SPOKEN.get(first, first) + message[len(first) :]


# -- what it asks for ------------------------------------------------------------------------------------


class _Numbers:
    """Reads numbers off a form and collects what is none."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self.found: dict[str, FieldProblem] = {}

    def whole(self, name: str) -> int | None:
        return self.read(self._values[name], name, int, "a whole number")

    def decimal(self, name: str) -> float | None:
        return self.read(self._values[name], name, _decimal, "a number")

    def read(self, text: str, name: str, parse: Callable[[str], Number], what: str) -> Number | None:
        text = text.strip()
        if not text:
            return None
        try:
            return parse(text)
        except ValueError:
            shown = _SHOWN_AT.get(name, name)
            self.found[shown] = FieldProblem(
                f"“{text[:40]}” is not {what}.", "write digits, or leave it empty"
            )
            return None

    def check(self) -> None:
        if self.found:
            raise FormInvalid(Problems(self.found))


def request_of(
    values: Values, *, image: BlobId | None, mask: BlobId | None, more_images: tuple[BlobId, ...] = ()
) -> ImageRequest:
    """What the form asks for.

    Args:
        image, mask, more_images: blobs of the pictures that came with it.

    Raises:
        FormInvalid: text where a number belongs.
    """
    numbers = _Numbers(values)
    width, height = _size(values, numbers)
    n = numbers.whole("n")
    request = ImageRequest(
        model=ModelId(values["model"] or "auto"),
        engine=_engine(values, numbers),
        prompt=values["prompt"],
        negative_prompt=values["negative_prompt"],
        style=values["style"] or None,
        mode=_mode(image, mask),
        width=width,
        height=height,
        steps=numbers.whole("steps"),
        guidance_scale=numbers.decimal("guidance_scale"),
        seed=numbers.whole("seed"),
        n=1 if n is None else n,
        scheduler=values["scheduler"] or None,
        sigmas=values["sigmas"] or None,
        clip_skip=numbers.whole("clip_skip"),
        vae=ModelId(values["vae"]) if values["vae"] else None,
        loras=_loras(values, numbers),
        strength=numbers.decimal("strength") if image is not None else None,
        image=image,
        mask=mask,
        more_images=more_images,
        hires=_hires(values, numbers),
        transparent=bool(values["transparent"]),
        previews=PREVIEWS,
        **_file(values, numbers),
    )
    numbers.check()
    return request


def margins_of(values: Values) -> Margins:
    """By how much the picture grows. Raises FormInvalid."""
    numbers = _Numbers(values)
    margins = Margins(*(numbers.whole(name) or 0 for name in EXTEND))
    numbers.check()
    return margins


def rectangle_of(values: Values) -> Rectangle | None:
    """The part that is drawn anew, where it is given by numbers. An empty corner is 0.

    Raises:
        FormInvalid: text where a number belongs, or a corner without a size.
    """
    if not any(values[name] for name in RECTANGLE):
        return None
    numbers = _Numbers(values)
    left, top, width, height = (numbers.whole(name) for name in RECTANGLE)
    numbers.check()
    if width is None or height is None:
        problem = FieldProblem("The rectangle has no size.", "give its width and its height in pixels")
        raise FormInvalid(Problems({"mask": problem}))
    return Rectangle(left or 0, top or 0, width, height)


def idempotency_key(ticket: str, request: ImageRequest) -> str:
    """The same form with the same values sent twice draws once; a changed value draws anew."""
    text = json.dumps(request.as_json(), sort_keys=True, default=str)
    return hashlib.sha256(f"{ticket}\n{text}".encode()).hexdigest()


def _mode(image: BlobId | None, mask: BlobId | None) -> Mode:
    if mask is not None:
        return Mode.INPAINT
    return Mode.TEXT if image is None else Mode.IMAGE


def _engine(values: Values, numbers: _Numbers) -> Engine:
    name = values["engine"] or Engine.AUTO.value
    if name not in set(Engine):
        hint = f"choose one of {', '.join(Engine)}"
        numbers.found["engine"] = FieldProblem(f"There is no engine “{name[:40]}”.", hint)
        return Engine.AUTO
    return Engine(name)


def _size(values: Values, numbers: _Numbers) -> tuple[int | None, int | None]:
    """A preset names both sides; otherwise the two fields count, if anything stands in them."""
    preset = _SIZE.fullmatch(values["size"])
    if preset is not None:
        return int(preset[1]), int(preset[2])
    return numbers.whole("width"), numbers.whole("height")


def _loras(values: Values, numbers: _Numbers) -> tuple[LoraChoice, ...]:
    chosen = []
    for row in values.loras:
        weight = numbers.read(row.weight, "loras", _decimal, "a number")
        chosen.append(LoraChoice(ModelId(row.model), 1.0 if weight is None else weight))
    return tuple(chosen)


def _hires(values: Values, numbers: _Numbers) -> HiresFix | None:
    if not values["hires"]:
        return None
    plain = HiresFix()
    scale, strength = numbers.decimal("hires_scale"), numbers.decimal("hires_strength")
    return HiresFix(
        scale=plain.scale if scale is None else scale,
        strength=plain.strength if strength is None else strength,
        steps=numbers.whole("hires_steps"),
        # Any other word is refused where requests are accepted.
        upscaler=cast("Literal['pixels', 'latent']", values["hires_upscaler"] or plain.upscaler),
    )


def _file(values: Values, numbers: _Numbers) -> dict[str, Any]:
    """The file that is delivered. A quality left standing from JPEG means nothing to PNG."""
    name = values["output_format"] or OutputFormat.PNG.value
    if name not in set(OutputFormat):
        hint = f"choose one of {', '.join(OutputFormat)}"
        numbers.found["output_format"] = FieldProblem(f"There is no file format “{name[:40]}”.", hint)
        return {}
    quality = numbers.whole("output_compression")
    return {
        "output_format": OutputFormat(name),
        "output_compression": None if name == OutputFormat.PNG else quality,
    }


def _decimal(text: str) -> float:
    return float(text.replace(",", "."))
