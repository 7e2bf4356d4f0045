# SPDX-License-Identifier: Apache-2.0
"""How a conversation is to be answered. Pure."""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from inglenook.chat.conversations.errors import BadMessage

MAX_TOKENS: Final = 10_000_000
MAX_STOPS: Final = 16
MAX_STOP_CHARS: Final = 200
TOOLS: Final = ("generate_image", "edit_image")
"""Tools of our own that a model may call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """None everywhere: as the model's options and the engine have it.

    Attributes:
        temperature: 0 to 5. top_p, min_p: 0 to 1. top_k: 0 (all) to 1000.
        repeat_penalty: 0 to 5; 1 is none. presence_penalty, frequency_penalty: -2 to 2.
        max_tokens: of one answer. seed: 0 to 2³²-1; None draws one.
        context: tokens that the conversation needs at least.
        stop: texts at which the answer ends.
        json_mode: the answer is one JSON object.
        tools: of `TOOLS`, those that the model may call.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    context: int | None = None
    stop: tuple[str, ...] = ()
    json_mode: bool = False
    tools: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Only what was set."""
        unset = (None, False)  # by identity: 0 is a value
        said = {
            name: value
            for name, value in asdict(self).items()
            if value != () and not any(value is it for it in unset)
        }
        return {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}


RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "temperature": (0, 5),
    "top_p": (0, 1),
    "top_k": (0, 1000),
    "min_p": (0, 1),
    "repeat_penalty": (0, 5),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "max_tokens": (1, MAX_TOKENS),
    "seed": (0, 2**32 - 1),
    "context": (16, MAX_TOKENS),
}
WHOLE: Final = frozenset({"top_k", "max_tokens", "seed", "context"})
NAMES: Final = tuple(one.name for one in fields(Parameters))


def parameters_of(sent: Mapping[str, Any]) -> Parameters:
    """Parameters out of JSON; null is "not set".

    Raises:
        BadMessage: an unknown name, a wrong type, a number out of range; `field` is `parameters.NAME`.
    """
    found: dict[str, Any] = {}
    for name, value in sent.items():
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(NAMES)}"
            raise _bad(name, f"There is no parameter {name[:60]!r}.", hint)
        if value is not None:
            found[name] = _CHECKS.get(name, _number)(name, value)
    return Parameters(**found)


def _bad(name: str, message: str, hint: str | None = None) -> BadMessage:
    return BadMessage(message, field=f"parameters.{name}", code="conversation.parameters", hint=hint)


def _number(name: str, value: object) -> float | int:
    low, high = RANGES[name]
    kind = "a whole number" if name in WHOLE else "a number"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _bad(name, f"{name} must be {kind}; got {str(value)[:60]!r}.")
    if not (math.isfinite(value) and low <= value <= high):
        raise _bad(name, f"{name} is {value}; it must be {low:g} to {high:g}.")
    if name not in WHOLE:
        return value
    if value != int(value):
        raise _bad(name, f"{name} is {value}; it must be a whole number.")
    return int(value)


def _texts(name: str, value: object) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list | tuple) or not all(isinstance(one, str) and one for one in given):
        raise _bad(name, f"{name} must be a list of texts that are not empty.")
    return tuple(dict.fromkeys(given))


def _stop(name: str, value: object) -> tuple[str, ...]:
    given = _texts(name, value)
    if len(given) > MAX_STOPS or any(len(one) > MAX_STOP_CHARS for one in given):
        raise _bad(name, f"There can be {MAX_STOPS} stop texts of {MAX_STOP_CHARS} characters at most.")
    return given


def _tools(name: str, value: object) -> tuple[str, ...]:
    given = _texts(name, value)
    for one in given:
        if one not in TOOLS:
            raise _bad(name, f"There is no tool {one[:60]!r}.", f"there are: {', '.join(TOOLS)}")
    return given


def _truth(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _bad(name, f"{name} must be true or false; got {str(value)[:60]!r}.")
    return value


_CHECKS: Final[Mapping[str, Callable[[str, object], Any]]] = {
    "stop": _stop,
    "tools": _tools,
    "json_mode": _truth,
}
