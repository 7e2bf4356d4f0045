# SPDX-License-Identifier: Apache-2.0
"""Ollama's `options` → llama.cpp's parameters. Pure.

As in Ollama, an option that nobody knows is passed over and one of the wrong type is refused. Those that say
how a model is to be loaded (`num_gpu`, `num_thread` …) are passed over too: here the ledger decides, and a
model's own options. Both are named in the answer's header `x-inglenook-ignored`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from inglenook.base.errors import Invalid
from inglenook.door.problem import shown

_WHOLE: Final[Mapping[str, str]] = {
    "num_keep": "n_keep",
    "seed": "seed",
    "top_k": "top_k",
    "repeat_last_n": "repeat_last_n",
    "mirostat": "mirostat",
}
_REAL: Final[Mapping[str, str]] = {
    name: name
    for name in (
        *("temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty"),
        *("frequency_penalty", "mirostat_tau", "mirostat_eta"),
    )
}
MAX_STOPS: Final = 64
_LARGEST: Final = 1 << 53


@dataclass(frozen=True, slots=True)
class Options:
    """`parameters`: in llama.cpp's words. `context`: tokens that the request needs. `ignored`: names."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    context: int | None = None
    ignored: tuple[str, ...] = ()

    @property
    def headers(self) -> dict[str, str]:
        return {"x-inglenook-ignored": ", ".join(self.ignored)} if self.ignored else {}


def options_of(sent: object) -> Options:
    """Raises Invalid for a value of the wrong type."""
    if sent is None:
        return Options()
    if not isinstance(sent, dict):
        raise Invalid(f"options must be an object; got {shown(sent)}.", field="options")
    parameters: dict[str, Any] = {}
    context: int | None = None
    ignored: list[str] = []
    for name, value in sent.items():
        if value is None:
            continue
        if name in _WHOLE:
            parameters[_WHOLE[name]] = _whole(name, value)
        elif name in _REAL:
            parameters[_REAL[name]] = _real(name, value)
        elif name == "num_predict":
            # Below 0 means: until the model ends, or its context is full.
            parameters["n_predict"] = max(-1, _whole(name, value))
        elif name == "num_ctx":
            context = _context(value)
        elif name == "stop":
            parameters["stop"] = _stops(value)
        else:
            ignored.append(_printable(name))
    return Options(parameters, context, tuple(ignored))


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
        raise _wrong(name, "integer", value)
    return int(value)


def _real(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
        raise _wrong(name, "float", value)
    return float(value)


def _context(value: object) -> int:
    tokens = _whole("num_ctx", value)
    if tokens < 1:
        raise Invalid(f'option "num_ctx" must be at least 1; got {tokens}.', field="options.num_ctx")
    return tokens


def _stops(value: object) -> list[str]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(one, str) for one in stops):
        raise _wrong("stop", "array of strings", value)
    if len(stops) > MAX_STOPS:
        raise Invalid(f'option "stop" may hold {MAX_STOPS} texts; got {len(stops)}.', field="options.stop")
    return [one for one in stops if one]


def _wrong(name: str, kind: str, value: object) -> Invalid:
    return Invalid(f'option "{name}" must be of type {kind}; got {shown(value)}.', field=f"options.{name}")


def _printable(name: str) -> str:
    """For a header: a client's name may hold anything."""
    return "".join(
        letter for letter in name[:40] if letter.isascii() and (letter.isalnum() or letter in "_-.")
    )
