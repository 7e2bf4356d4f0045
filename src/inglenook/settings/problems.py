# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a source of settings: where, which value, and what was probably meant."""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from inglenook.base.errors import Invalid
from inglenook.base.units import format_bytes
from inglenook.settings.declaration import extra_of, is_bytes, sections

_MAX_SHOWN_CHARS = 80
_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^\s@]*@")


@dataclass(frozen=True, slots=True)
class Problem:
    """`where`: a file with its line, a variable, or who gave the value. `what`: the fact with the value."""

    where: str
    what: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class SettingsError(Invalid):
    """The settings cannot be used; nothing was started. All problems of all sources are in `problems`."""

    default_code = "settings.invalid"

    def __init__(self, problems: Sequence[Problem]) -> None:
        hints = [problem.hint for problem in problems if problem.hint is not None]
        super().__init__("\n".join(map(str, problems)), hint="; ".join(dict.fromkeys(hints)) or None)
        self.problems = tuple(problems)


def unknown_section(where: str, name: str, shown: str) -> Problem:
    """`name` stands where a section should; perhaps it is a setting that lost its section."""
    return Problem(where, f"{shown} is not a section", _nearest_section(name))


def unknown_setting(where: str, section: str, name: str, shown: str) -> Problem:
    return Problem(where, f"{shown} is not a setting", _nearest_setting(section, name))


def _nearest_section(name: str) -> str:
    names = list(sections())
    by_leaf = [key for key in all_keys() if name in (key, key.partition(".")[2])]
    if by_leaf:
        section, _, leaf = by_leaf[0].partition(".")
        return f"did you mean {by_leaf[0]}? Write `{leaf}:` indented below `{section}:`"
    near = _nearest(name, names)
    if near is not None:
        return f"did you mean {near}?"
    return f"the sections are {', '.join(names)}"


def _nearest_setting(section: str, name: str) -> str:
    """In the same section first, then of the same name elsewhere, then like it anywhere."""
    here = list(sections()[section].model_fields)
    near = _nearest(name, here)
    if near is not None:
        return f"did you mean {section}.{near}?"
    leaves = {key.partition(".")[2]: key for key in all_keys()}
    near = _nearest(name, leaves)
    if near is not None:
        return f"did you mean {leaves[near]}?"
    return f"{section} has {', '.join(here)}"


def _nearest(name: str, names: Iterable[str]) -> str | None:
    found = difflib.get_close_matches(name.lower().replace("-", "_"), list(names), n=1, cutoff=0.6)
    return found[0] if found else None


def all_keys() -> list[str]:
    """Every ``section.key``, in the order of the declaration."""
    return [f"{section}.{name}" for section, model in sections().items() for name in model.model_fields]


def bad_values(where: str, section: str, name: str, given: object, error: ValidationError) -> list[Problem]:
    """One problem for each value inside ``section.name = given`` that the check refused."""
    model = sections()[section]
    problems = []
    for detail in error.errors(include_url=False):
        value = given if len(detail["loc"]) == 1 else detail["input"]
        shown = "********" if extra_of(model, name)["secret"] else show(value)
        what = f"{section}.{_place(detail['loc'])} = {shown} {_reason(detail, is_bytes(model, name))}"
        problems.append(Problem(where, what, detail.get("ctx", {}).get("hint")))
    return problems


def _place(location: tuple[int | str, ...]) -> str:
    """``("budgets", "cuda:0")`` → ``budgets[cuda:0]``."""
    head, *rest = (str(part) for part in location if part != "[key]")
    return head + "".join(f"[{part}]" for part in rest)


def show(value: object) -> str:
    """The value as it was written, on one line, shortened; the password of an address is masked."""
    text = repr(value) if isinstance(value, str) else "nothing" if value is None else str(value)
    text = _PASSWORD.sub(r"\1********@", text)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]}…"


_BOUNDS = {
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
}
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "tuple": "a list",
    "mapping": "a map",
    "dict": "a map",
}


def _reason(detail: Any, amounts: bool) -> str:
    """Pydantic's finding in our words."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        bound = format_bytes(context[key]) if amounts else f"{context[key]}"
        return f"must be {word} {bound}"
    if kind == "literal_error":
        return f"must be {context['expected'].replace(chr(39), '')}"
    if kind == "too_long":
        return f"must have at most {context['max_length']} entries"
    if kind == "finite_number":
        return "must be a finite number"
    name = _KINDS.get(kind.partition("_")[0])
    if name is not None:
        return f"must be {name}"
    return str(detail["msg"])
