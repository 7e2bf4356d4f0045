# SPDX-License-Identifier: Apache-2.0
"""`sam_config`: what a chat says about the picture it wants. Types, bounds, both spellings.

It comes under three names, the first of which wins field by field: `sam_config`, `samConfig`, `metadata`.
The last is a field of OpenAI's for notes of the client's own, so names that are unknown there are left alone,
and numbers may stand there as texts; in the other two an unknown name is refused with the nearest one.
"""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from inglenook.api.chat import Unprocessable
from inglenook.door.problem import shown
from inglenook.images.model import (
    MAX_GUIDANCE,
    MAX_INPUT_PICTURES,
    MAX_LORA_WEIGHT,
    MAX_LORAS,
    MAX_PICTURES,
    MAX_PROMPT_CHARS,
    MAX_SEED,
    MAX_SIDE_PX,
    MAX_STEPS,
)
from inglenook.outgoing.target import MAX_CHARS as MAX_URL_CHARS

RANDOM_SEED = -1
"""How several programs write "any seed"."""


class Kind(Protocol):
    """What a field may hold."""

    def read(self, value: object, where: str, *, lax: bool) -> Any:
        """Raises Unprocessable with `where` as its field. `lax`: a number may come as a text."""
        ...


@dataclass(frozen=True, slots=True)
class Text:
    max_chars: int | None

    def read(self, value: object, where: str, *, lax: bool) -> str:  # noqa: ARG002 - a `Kind`
        if not isinstance(value, str):
            raise Unprocessable(f"{where} must be a text; got {shown(value)}.", field=where)
        if "\x00" in value:
            raise Unprocessable(f"{where} holds a NUL character.", field=where)
        if self.max_chars is not None and len(value) > self.max_chars:
            raise Unprocessable(
                f"{where} has {len(value)} characters; at most {self.max_chars} are taken.", field=where
            )
        return value


@dataclass(frozen=True, slots=True)
class Number:
    low: float
    high: float
    whole: bool = False

    def read(self, value: object, where: str, *, lax: bool) -> float:
        number = _number(value) if lax and isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int | float):
            what = "a whole number" if self.whole else "a number"
            raise Unprocessable(f"{where} must be {what}; got {shown(value)}.", field=where)
        if isinstance(number, float) and self.whole and number.is_integer():
            number = int(number)
        if self.whole and not isinstance(number, int):
            raise Unprocessable(f"{where} must be a whole number; got {shown(value)}.", field=where)
        if not (self.low <= number <= self.high):
            raise Unprocessable(
                f"{where} must be {_plain(self.low)} to {_plain(self.high)}; got {shown(value)}.", field=where
            )
        return number


@dataclass(frozen=True, slots=True)
class Several:
    of: Text | Number
    most: int

    def read(self, value: object, where: str, *, lax: bool) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise Unprocessable(f"{where} must be a list; got {shown(value)}.", field=where)
        if len(value) > self.most:
            raise Unprocessable(
                f"{where} has {len(value)} entries; at most {self.most} are taken.", field=where
            )
        return tuple(self.of.read(one, f"{where}.{index}", lax=lax) for index, one in enumerate(value))


def _number(text: str) -> object:
    try:
        number = float(text)
    except ValueError:
        return text
    return int(text) if re.fullmatch(r"-?[0-9]{1,20}", text) else number


def _plain(bound: float) -> str:
    return f"{bound:g}" if isinstance(bound, float) and math.isfinite(bound) else str(bound)


FIELDS: Mapping[str, Kind] = {
    "negative_prompt": Text(MAX_PROMPT_CHARS),
    "steps": Number(1, MAX_STEPS, whole=True),
    "guidance_scale": Number(0, MAX_GUIDANCE),
    "width": Number(1, MAX_SIDE_PX, whole=True),
    "height": Number(1, MAX_SIDE_PX, whole=True),
    "seed": Number(RANDOM_SEED, MAX_SEED, whole=True),
    "scheduler": Text(64),
    "num_images": Number(1, MAX_PICTURES, whole=True),
    "lora_paths": Several(Text(512), MAX_LORAS),
    "lora_scales": Several(Number(-MAX_LORA_WEIGHT, MAX_LORA_WEIGHT), MAX_LORAS),
    "input_images": Several(Text(None), MAX_INPUT_PICTURES),
    "input_image_urls": Several(Text(MAX_URL_CHARS), MAX_INPUT_PICTURES),
    "strength": Number(0, 1),
}
"""All of them may be left out or null."""

PAGE_ONLY = frozenset({"privacy", "expiration_hours"})
"""ALICE's own page sends these, and ALICE knows neither. Pictures here are their owner's, and `/v1/gallery`
is where they are shared; refusing the page for them would help nobody."""


@dataclass(frozen=True, slots=True)
class SamConfig:
    """See `FIELDS` for bounds; None where nothing was said."""

    negative_prompt: str = ""
    steps: int | None = None
    guidance_scale: float | None = None
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    scheduler: str | None = None
    num_images: int = 1
    lora_paths: tuple[str, ...] = ()
    lora_scales: tuple[float, ...] = ()
    input_images: tuple[str, ...] = ()
    input_image_urls: tuple[str, ...] = ()
    strength: float | None = None


def read(body: Mapping[str, Any]) -> SamConfig:
    """What the body of a chat says about its picture.

    Raises:
        Unprocessable: an unknown name, a wrong type, a number out of bounds; `field` is the path to it.
    """
    found: dict[str, Any] = {}
    for place in ("metadata", "samConfig", "sam_config"):
        found |= _section(body, place)
    config = SamConfig(**found)
    if len(config.lora_scales) > len(config.lora_paths):
        raise Unprocessable(
            f"{len(config.lora_scales)} lora_scales are given for {len(config.lora_paths)} lora_paths.",
            field="sam_config.lora_scales",
            hint="give one for each of lora_paths, or fewer; the others count 1",
        )
    return config


def _section(body: Mapping[str, Any], place: str) -> dict[str, Any]:
    sent = body.get(place)
    if sent is None:
        return {}
    if not isinstance(sent, dict):
        raise Unprocessable(f"{place} must be an object; got {shown(sent)}.", field=place)
    lax = place == "metadata"
    found: dict[str, Any] = {}
    for name, value in sent.items():
        plain = snake(name)
        kind = FIELDS.get(plain)
        if value is None or plain in PAGE_ONLY or (kind is None and lax):
            continue
        where = f"{place}.{name[:64]}"
        if kind is None:
            raise _unknown(name, where)
        if plain in found:
            raise Unprocessable(f"{place} gives {plain} twice, in two spellings.", field=where)
        found[plain] = kind.read(value, where, lax=lax)
    return found


def snake(name: str) -> str:
    """`guidanceScale` → `guidance_scale`."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name[:200]).lower()


def _unknown(name: str, where: str) -> Unprocessable:
    near = difflib.get_close_matches(snake(name), FIELDS, n=1)
    return Unprocessable(
        f"Unknown field {shown(name)} in sam_config.",
        field=where,
        code="request.unknown_field",
        hint=f"did you mean {near[0]}?" if near else f"known are {', '.join(FIELDS)}",
    )
