# SPDX-License-Identifier: Apache-2.0
"""The drawing form: what a person typed, as text, and what it means as an `ImageRequest`. Pure.

An empty field means "as the model likes it"; what was typed is kept as it was typed until it is accepted.
Ranges are checked where requests are accepted (`images`); here only text becomes numbers.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from inglenook.base.errors import InglenookError, Invalid
from inglenook.base.ids import BlobId, ModelId
from inglenook.images.model import ImageRequest, Mode

FIELDS = (
    "prompt",
    "model",
    "negative_prompt",
    "size",
    "width",
    "height",
    "steps",
    "guidance_scale",
    "seed",
    "n",
    "scheduler",
    "strength",
)
FILES = ("image", "mask")
CUSTOM = "custom"
PREVIEWS = 12
"""Previews the page asks for, spread over the steps of a picture."""

_SHOWN_AT = {"width": "size", "height": "size", "guidance": "guidance_scale", "id": "model"}
_SPOKEN = {"n": "number of pictures", "steps": "number of steps", "guidance_scale": "guidance"}
"""What people call a field whose name stands in a message."""
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One error as it stands beside a field, or above the form when no field is to blame."""

    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Problems:
    """Errors by field of the form; "" holds the one that belongs to no field."""

    by_field: Mapping[str, FieldProblem] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.by_field)

    def get(self, name: str) -> FieldProblem | None:
        return self.by_field.get(name)

    @property
    def in_details(self) -> bool:
        """Whether one of them sits in the part of the form that is folded away at first."""
        return bool(set(self.by_field) - {"", "prompt", "model"})


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
    known = name in FIELDS or name in FILES
    return Problems({name if known else "": FieldProblem(_spoken(error.message), error.hint)})


def _spoken(message: str) -> str:
    """``n is 9; …`` → ``number of pictures is 9; …``."""
    first = message.partition(" ")[0]
    return _SPOKEN.get(first, first) + message[len(first) :]


def blank() -> dict[str, str]:
    return dict.fromkeys(FIELDS, "") | {"n": "1"}


def typed(data: Mapping[str, Any]) -> dict[str, str]:
    """The values of a posted form (or a query), every field present, line ends as elsewhere."""
    values = blank()
    for name in FIELDS:
        given = data.get(name)
        if isinstance(given, str):
            values[name] = given.replace("\r\n", "\n") if "prompt" in name else given.strip()
    return values


def of_picture(parameters: Mapping[str, Any]) -> dict[str, str]:
    """The form that makes a picture again, its seed included, from the parameters that were kept with it."""
    return _again(parameters, parameters.get("width"), parameters.get("height")) | {"n": "1"}


def of_job(drawing: Mapping[str, Any], *, seed: str) -> dict[str, str]:
    """The form that asks for a job again, from its payload (`images.request.Drawing`).

    Args:
        seed: as it was typed; "" draws a new one.
    """
    count = len(drawing.get("seeds") or (0,))
    return _again(drawing, drawing.get("out_width"), drawing.get("out_height")) | {
        "n": str(count),
        "seed": seed,
    }


def _again(kept: Mapping[str, Any], width: Any, height: Any) -> dict[str, str]:
    values = blank()
    for name in FIELDS:
        given = kept.get(name)
        if given is not None:
            values[name] = _plain(given)
    values["size"] = f"{width}x{height}" if width and height else ""
    return values | {"width": str(width or ""), "height": str(height or "")}


def request_of(values: Mapping[str, str], *, image: BlobId | None, mask: BlobId | None) -> ImageRequest:
    """What the form asks for. `image`, `mask`: blobs of the pictures that came with it.

    Raises:
        FormInvalid: text where a number belongs.
    """
    found: dict[str, FieldProblem] = {}

    def number(name: str, parse: Callable[[str], Number], what: str) -> Number | None:
        text = values[name].strip()
        if not text:
            return None
        try:
            return parse(text)
        except ValueError:
            shown = _SHOWN_AT.get(name, name)
            found[shown] = FieldProblem(f"“{text[:40]}” is not {what}.", "write digits, or leave it empty")
            return None

    width, height = _size(values, number)
    n = number("n", int, "a whole number")
    request = ImageRequest(
        model=ModelId(values["model"] or "auto"),
        prompt=values["prompt"],
        negative_prompt=values["negative_prompt"],
        mode=_mode(image, mask),
        width=width,
        height=height,
        steps=number("steps", int, "a whole number"),
        guidance_scale=number("guidance_scale", _decimal, "a number"),
        seed=number("seed", int, "a whole number"),
        n=1 if n is None else n,
        scheduler=values["scheduler"] or None,
        strength=number("strength", _decimal, "a number") if image is not None else None,
        image=image,
        mask=mask,
        previews=PREVIEWS,
    )
    if found:
        raise FormInvalid(Problems(found))
    return request


def idempotency_key(ticket: str, request: ImageRequest) -> str:
    """The same form with the same values sent twice draws once; a changed value draws anew."""
    text = json.dumps(request.as_json(), sort_keys=True, default=str)
    return hashlib.sha256(f"{ticket}\n{text}".encode()).hexdigest()


def _mode(image: BlobId | None, mask: BlobId | None) -> Mode:
    if mask is not None:
        return Mode.INPAINT
    return Mode.TEXT if image is None else Mode.IMAGE


def _size(values: Mapping[str, str], number: Callable[..., int | None]) -> tuple[int | None, int | None]:
    """A preset names both sides; otherwise the two fields count, if anything stands in them."""
    preset = _SIZE.fullmatch(values["size"])
    if preset is not None:
        return int(preset[1]), int(preset[2])
    return number("width", int, "a whole number"), number("height", int, "a whole number")


def _plain(value: object) -> str:
    """``3.0`` is typed as ``3``."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _decimal(text: str) -> float:
    return float(text.replace(",", "."))
