# SPDX-License-Identifier: Apache-2.0
"""Tool calls that hold, the asking: what the model may call, as a JSON schema and in words. Pure.

Where a model's template ignores tools, or a call is required, the call is asked for through a schema that the
sampler cannot leave: `{"tool": …, "arguments": {…}}`, or `{"answer": …}` where words will do. `calls.py`
reads what comes back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from inglenook.base.errors import Invalid
from inglenook.door.problem import shown

MAX_TOOLS: Final = 128
MAX_CALLS: Final = 8
"""Of one answer, where the caller allows several."""
ANSWER: Final = "answer"
TOOL: Final = "tool"
ARGUMENTS: Final = "arguments"
CALLS: Final = "calls"
_DEFINITIONS: Final = ("$defs", "definitions")
_NO_PARAMETERS: Final[Mapping[str, Any]] = {"type": "object", "properties": {}, "additionalProperties": False}

Mode = Literal["auto", "required", "none"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function of the caller's. `parameters`: a JSON schema of an object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wish:
    """What may be called, and whether it must be.

    Attributes:
        tools: those that may be called; only the named one where one is named.
        several: whether one answer may hold several calls.
        words: the schema of an answer in words where the caller gave one; None for a plain text.
    """

    tools: tuple[Tool, ...]
    mode: Mode
    several: bool = False
    words: Mapping[str, Any] | None = None


def tools_of(sent: object) -> tuple[Tool, ...]:
    """OpenAI's `tools`. Raises Invalid: a tool that is no function, or without a name; too many."""
    if sent is None:
        return ()
    if not isinstance(sent, list) or len(sent) > MAX_TOOLS:
        raise Invalid(f"tools must be a list of at most {MAX_TOOLS}; got {shown(sent)}.", field="tools")
    found = tuple(_tool(one, f"tools.{index}") for index, one in enumerate(sent))
    names = [tool.name for tool in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Invalid(f"Two tools are called {shown(twice)}.", field="tools")
    return found


def _tool(sent: object, where: str) -> Tool:
    function = sent.get("function") if isinstance(sent, dict) and sent.get("type") == "function" else None
    if not isinstance(function, dict):
        raise Invalid(
            f'{where} must be {{"type": "function", "function": {{"name": …}}}}; got {shown(sent)}.',
            field=where,
        )
    name, parameters = function.get("name"), function.get("parameters")
    if not isinstance(name, str) or not 0 < len(name) <= 200:
        raise Invalid(f"{where}.function.name must be a text; got {shown(name)}.", field=where)
    if parameters is not None and not isinstance(parameters, dict):
        raise Invalid(
            f"{where}.function.parameters must be a JSON schema; got {shown(parameters)}.", field=where
        )
    return Tool(name, str(function.get("description") or ""), parameters or _NO_PARAMETERS)


def wish_of(
    tools: Sequence[Tool], choice: object, *, several: bool = False, response_format: object = None
) -> Wish:
    """OpenAI's `tool_choice` over `tools`.

    Args:
        several: `parallel_tool_calls`.
        response_format: OpenAI's; its schema is that of an answer in words.

    Raises:
        Invalid: a choice that is none, or names a function that is not among the tools.
    """
    words = _words(response_format)
    every = tuple(tools)
    if choice is None or choice == "auto":
        return Wish(every, "auto" if every else "none", several, words)
    if choice == "none":
        return Wish((), "none", False, words)
    if choice in ("required", "any"):
        return Wish(_some(every), "required", several, words)
    if isinstance(choice, dict) and choice.get("type") == "function":
        return Wish((_named(choice, every),), "required", False, words)
    if isinstance(choice, dict) and isinstance(choice.get("allowed_tools"), dict):
        allowed = choice["allowed_tools"]
        chosen = tuple(_named(one, every) for one in allowed.get("tools") or ())
        mode: Mode = "required" if allowed.get("mode") == "required" else "auto"
        return Wish(_some(chosen), mode, several, words)
    raise Invalid(
        f'tool_choice must be "auto", "none", "required" or a function; got {shown(choice)}.',
        field="tool_choice",
    )


def _some(tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    if not tools:
        raise Invalid("tool_choice asks for a call, and there are no tools.", field="tool_choice")
    return tools


def _named(choice: object, tools: Sequence[Tool]) -> Tool:
    """`{"type": "function", "function": {"name": …}}`, or with the name beside the type."""
    function = choice.get("function", choice) if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    for tool in tools:
        if tool.name == name:
            return tool
    raise Invalid(
        f"tool_choice names {shown(name)}, which is not among the tools.",
        field="tool_choice",
        hint="the tools are " + (", ".join(tool.name for tool in tools[:8]) or "none"),
    )


def _words(response_format: object) -> Mapping[str, Any] | None:
    if not isinstance(response_format, dict):
        return None
    if response_format.get("type") == "json_object":
        schema = response_format.get("schema")
        return schema if isinstance(schema, dict) else {"type": "object"}
    if response_format.get("type") == "json_schema":
        inner = response_format.get("json_schema")
        schema = inner.get("schema") if isinstance(inner, dict) else None
        return schema if isinstance(schema, dict) else None
    return None


def schema(wish: Wish, *, longest: int | None = None) -> dict[str, Any]:
    """What the answer must be.

    Args:
        longest: most characters of each text, and with it few entries of each list, where the caller's schema
            gives no bound of its own: for a model that would not find an end.
    """
    shared: dict[str, Any] = {}
    calls = [_call(tool, f"tool{index}", shared, longest) for index, tool in enumerate(wish.tools)]
    one = calls[0] if len(calls) == 1 else {"anyOf": calls}
    some = _object(**{CALLS: {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_CALLS}})
    called = some if wish.several else one
    if wish.mode == "auto":
        words = {"type": "string"} if wish.words is None else _moved(wish.words, "words", shared)
        alternatives = [_object(**{ANSWER: words}), *([some] if wish.several else calls)]
        called = {"anyOf": alternatives}
    return {**called, "$defs": shared} if shared else called


def _call(tool: Tool, place: str, shared: dict[str, Any], longest: int | None) -> dict[str, Any]:
    parameters = _moved(tool.parameters, place, shared)
    if "type" not in parameters and "$ref" not in parameters and "anyOf" not in parameters:
        parameters = {"type": "object", **parameters}
    if longest is not None:
        parameters = bounded(parameters, longest)
        for name in [name for name in shared if name.startswith(place)]:
            shared[name] = bounded(shared[name], longest)
    return _object(**{TOOL: {"const": tool.name}, ARGUMENTS: parameters})


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _moved(sent: Mapping[str, Any], place: str, shared: dict[str, Any]) -> dict[str, Any]:
    """A schema that stands inside of another one: its definitions go to the root under names of their own,
    and what refers to them, or to its own root, follows."""
    moved = {key: value for key, value in sent.items() if key not in (*_DEFINITIONS, "$schema", "$id")}
    for kind in _DEFINITIONS:
        for name, definition in (sent.get(kind) or {}).items():
            shared[f"{place}_{name}"] = _referring(definition, place)
    found: dict[str, Any] = _referring(moved, place)
    if _refers_to(f"#/$defs/{place}", [found, *shared.values()]):
        shared[place] = found
    return found


def _referring(value: Any, place: str) -> Any:
    if isinstance(value, list):
        return [_referring(one, place) for one in value]
    if not isinstance(value, dict):
        return value
    changed = {key: _referring(one, place) for key, one in value.items()}
    target = value.get("$ref")
    if isinstance(target, str):
        if target == "#":
            changed["$ref"] = f"#/$defs/{place}"
        for kind in _DEFINITIONS:
            if target.startswith(f"#/{kind}/"):
                changed["$ref"] = f"#/$defs/{place}_{target.removeprefix(f'#/{kind}/')}"
    return changed


def _refers_to(target: str, value: Any) -> bool:
    if isinstance(value, list):
        return any(_refers_to(target, one) for one in value)
    if isinstance(value, dict):
        return value.get("$ref") == target or any(_refers_to(target, one) for one in value.values())
    return False


def bounded(value: Any, longest: int) -> Any:
    """A schema with an end: every text, list and open object in it has one."""
    if isinstance(value, list):
        return [bounded(one, longest) for one in value]
    if not isinstance(value, dict):
        return value
    found = {key: one if key in ("enum", "const") else bounded(one, longest) for key, one in value.items()}
    if value.get("type") == "string" and not {"enum", "const", "pattern", "format"} & value.keys():
        found["maxLength"] = min(longest, value.get("maxLength", longest))
    if value.get("type") == "array":
        most = max(3, value.get("minItems", 0))
        found["maxItems"] = min(most, value.get("maxItems", most))
    return found


def instructions(wish: Wish) -> str:
    """The same for the model, in words."""
    lines = [
        "You can call these functions:"
        if wish.mode == "auto"
        else "You must call one of these functions:"
        if len(wish.tools) > 1
        else "You must call this function:"
    ]
    for tool in wish.tools:
        told = f": {tool.description}" if tool.description else ""
        parameters = msgspec.json.encode(tool.parameters).decode()
        lines.append(f"- {tool.name}{told} Parameters: {parameters}")
    call = f'{{"{TOOL}": "the name", "{ARGUMENTS}": {{…}}}}'
    if wish.several:
        lines.append(f'To call, write only {{"{CALLS}": [{call}, …]}}.')
    else:
        lines.append(f"To call, write only {call}.")
    if wish.mode == "auto":
        lines.append(
            f'To answer in words, write only {{"{ANSWER}": "your answer"}}. '
            "Call a function only when it helps."
        )
    return "\n".join(lines)
