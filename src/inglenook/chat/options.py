# SPDX-License-Identifier: Apache-2.0
"""The options of a language model as JSON: what there is, what each may be, and how one set becomes another.

Pure. Whether an id or an alias means anything is for the service to say, which knows the models.
"""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from inglenook.base.errors import Invalid
from inglenook.chat.model import ModelOptions
from inglenook.wire.llama import CACHE_TYPES

FOREVER: Final = -1.0
MAX_TOKENS: Final = 16_777_216
MAX_NAME_CHARS: Final = 256
MAX_SYSTEM_CHARS: Final = 100_000
MAX_ALIASES: Final = 16
MAX_LORAS: Final = 16
SHOWN_CHARS: Final = 60


@dataclass(frozen=True, slots=True)
class Rule:
    """One option.

    Attributes:
        kind: of its form field: `whole`, `number`, `choice`, `flag`, `text`, `adapters`, `names`.
        accepts: what it may be, for people.
        at_load: it works from the next load on.
        read: JSON → the field's value; raises ValueError.
    """

    kind: str
    says: str
    accepts: str
    read: Callable[[Any], Any]
    at_load: bool = False
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None


def _whole(says: str, least: int, most: int, *, at_load: bool = False) -> Rule:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != math.floor(value):
            raise ValueError
        if not least <= value <= most:
            raise ValueError
        return int(value)

    return Rule(
        "whole", says, f"a whole number from {least} to {most}", _finite(read), at_load, (), least, most
    )


def _number(says: str, least: float, most: float) -> Rule:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise ValueError
        return float(value)

    return Rule("number", says, f"a number from {least:g} to {most:g}", _finite(read), False, (), least, most)


def _finite(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError
        return read(value)

    return checked


def _choice(says: str, *choices: str) -> Rule:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError
        return str(value)

    return Rule("choice", says, f"one of {', '.join(choices)}", read, True, choices)


def _text(says: str, accepts: str, most: int, *, at_load: bool) -> Rule:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not value.strip() or len(value) > most or "\0" in value:
            raise ValueError
        return value

    return Rule("text", says, accepts, read, at_load)


def _flag(value: Any) -> bool:
    if value is not True and value is not False:
        raise ValueError
    return bool(value)


def _keep(value: Any) -> float:
    number = not isinstance(value, bool) and isinstance(value, int | float)
    if not number or (value != FOREVER and not 0 <= value <= 365 * 86400):
        raise ValueError
    return float(value)


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or len(value) > MAX_ALIASES:
        raise ValueError
    names = tuple(name.strip() if isinstance(name, str) else "" for name in value)
    if any(not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable() for name in names):
        raise ValueError
    if len({name.casefold() for name in names}) != len(names):
        raise ValueError
    return names


def _adapters(value: Any) -> tuple[tuple[str, float], ...]:
    if not isinstance(value, list | tuple) or len(value) > MAX_LORAS:
        raise ValueError
    return tuple(_adapter(one) for one in value)


def _adapter(value: Any) -> tuple[str, float]:
    if isinstance(value, str):
        value = {"id": value}
    if isinstance(value, list | tuple) and len(value) == 2:
        value = {"id": value[0], "scale": value[1]}
    if not isinstance(value, Mapping) or not set(value) <= {"id", "scale"}:
        raise ValueError
    name, scale = value.get("id"), value.get("scale", 1.0)
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS:
        raise ValueError
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not -10 <= scale <= 10:
        raise ValueError
    return name, float(scale)


_FILE_OR_NONE = "the id of one, or none"
RULES: Final[Mapping[str, Rule]] = {
    "context": _whole("Tokens of one conversation.", 256, MAX_TOKENS, at_load=True),
    "parallel": _whole("Conversations at once.", 1, 64, at_load=True),
    "gpu_layers": _whole("Layers on the device; without it as many as fit.", 0, 10_000, at_load=True),
    "threads": _whole("CPU threads of its process.", 1, 1024, at_load=True),
    "flash_attention": _choice("Whether attention is computed in tiles.", "auto", "on", "off"),
    "cache_type_k": _choice("Type in which keys of past tokens are kept.", *CACHE_TYPES),
    "cache_type_v": _choice("Type in which values of past tokens are kept.", *CACHE_TYPES),
    "mmproj": _text("Projector that lets it see pictures.", _FILE_OR_NONE, MAX_NAME_CHARS, at_load=True),
    "draft": _text("Smaller model that guesses ahead.", _FILE_OR_NONE, MAX_NAME_CHARS, at_load=True),
    "loras": Rule(
        "adapters",
        "LoRAs that are loaded with it.",
        f"a list of at most {MAX_LORAS} of {{id, scale}}, scale from -10 to 10",
        _adapters,
        at_load=True,
    ),
    "pooling": _choice(
        "How an embedding is made of its tokens' states.", "none", "mean", "cls", "last", "rank"
    ),
    "task": _choice("What it is for, against what its header says.", "chat", "embedding", "rerank"),
    "chat_template": _text(
        "Jinja file that is used instead of its own template.",
        "the path of a .jinja file in a model folder",
        4096,
        at_load=True,
    ),
    "keep_s": Rule(
        "number",
        "Seconds that it stays loaded unused; -1 for ever.",
        f"a number from 0 to {365 * 86400}, or -1",
        _finite(_keep),
        least=-1,
        most=365 * 86400,
    ),
    "pinned": Rule("flag", "Whether it is never unloaded for others.", "true or false", _flag),
    "temperature": _number("For requests that do not name it.", 0, 5),
    "top_p": _number("For requests that do not name it.", 0, 1),
    "top_k": _whole("For requests that do not name it; 0 turns it off.", 0, 1_000_000),
    "min_p": _number("For requests that do not name it.", 0, 1),
    "repeat_penalty": _number("For requests that do not name it.", 0, 10),
    "max_tokens": _whole("For requests that do not name it.", 1, MAX_TOKENS),
    "system": _text(
        "System prompt of conversations without one.",
        f"a text of at most {MAX_SYSTEM_CHARS} characters",
        MAX_SYSTEM_CHARS,
        at_load=False,
    ),
    "aliases": Rule(
        "names",
        "Further names under which it can be asked for.",
        f"a list of at most {MAX_ALIASES} different names of 1 to {MAX_NAME_CHARS} characters",
        _names,
    ),
}
AT_LOAD: Final = tuple(name for name, rule in RULES.items() if rule.at_load)
OF_REQUESTS: Final = (
    "temperature", "top_p", "top_k", "min_p", "repeat_penalty", "max_tokens", "system",
)  # fmt: skip
NOTHING: Final = ModelOptions()


OF_EVERY_KIND: Final = {name: RULES[name] for name in ("keep_s", "pinned", "aliases")}
"""What models have that are not language models."""


def changed(
    options: ModelOptions, changes: Mapping[str, Any], *, known: Mapping[str, Rule] = RULES
) -> ModelOptions:
    """`options` with what `changes` says; null clears one.

    Args:
        known: the options that there are.

    Raises:
        Invalid: a name that there is not (with the nearest), or a value that may not be; `field` names it.
    """
    taken: dict[str, Any] = {}
    for name, value in changes.items():
        rule = known.get(name)
        if rule is None:
            raise _unknown(name, known)
        taken[name] = getattr(NOTHING, name) if value is None else _value(name, rule, value)
    return replace(options, **taken)


def _value(name: str, rule: Rule, value: Any) -> Any:
    try:
        return rule.read(value)
    except (ValueError, OverflowError):
        shown = repr(value)
        shown = shown if len(shown) <= SHOWN_CHARS else f"{shown[:SHOWN_CHARS]}…"
        raise Invalid(
            f"{name} must be {rule.accepts}; got {shown}.",
            field=name,
            code="options.invalid",
            hint="null clears an option",
        ) from None


def _unknown(name: str, known: Mapping[str, Rule]) -> Invalid:
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    if name in RULES:
        fact = f"{name} is an option of language models only."
    else:
        fact = f"There is no option {str(name)[:SHOWN_CHARS]!r}."
    return Invalid(
        fact,
        field=str(name)[:SHOWN_CHARS],
        code="options.unknown",
        hint=f"nearest: {', '.join(near)}" if near else f"there are: {', '.join(known)}",
    )


def as_json(options: ModelOptions) -> dict[str, Any]:
    """What is set, and nothing else."""
    values = asdict(options)
    found = {name: values[name] for name in RULES if values[name] != getattr(NOTHING, name)}
    if "loras" in found:
        found["loras"] = [{"id": name, "scale": scale} for name, scale in options.loras]
    if "aliases" in found:
        found["aliases"] = list(options.aliases)
    return found


def from_json(kept: Mapping[str, Any]) -> tuple[ModelOptions, tuple[str, ...]]:
    """What was kept, and the names of what this program cannot use of it (another version has kept it)."""
    options, dropped = NOTHING, []
    for name, value in kept.items():
        try:
            options = changed(options, {name: value})
        except Invalid:
            dropped.append(str(name))
    return options, tuple(dropped)


def description(known: Mapping[str, Rule] = RULES) -> list[dict[str, Any]]:
    """The options that there are, for forms and for `inglenook models options`."""
    return [
        {
            "name": name,
            "kind": rule.kind,
            "says": rule.says,
            "accepts": rule.accepts,
            "at_load": rule.at_load,
            "choices": list(rule.choices),
            "least": rule.least,
            "most": rule.most,
        }
        for name, rule in known.items()
    ]


def request_defaults(options: ModelOptions) -> dict[str, Any]:
    """What requests get that do not name it, by llama.cpp's names and `system`; only what is set."""
    values = {name: getattr(options, name) for name in OF_REQUESTS}
    return {name: value for name, value in values.items() if value is not None}


def differing(a: ModelOptions, b: ModelOptions) -> tuple[str, ...]:
    """Names of options that work at a load and are not the same."""
    return tuple(name for name in AT_LOAD if getattr(a, name) != getattr(b, name))
