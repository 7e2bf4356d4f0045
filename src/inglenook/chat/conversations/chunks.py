# SPDX-License-Identifier: Apache-2.0
"""The pieces of an answer as an engine streams them, put together into parts. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from inglenook.chat.conversations.model import Part, Reasoning, Text, Tool

_OPEN: Final = "<think>"
_CLOSE: Final = "</think>"


@dataclass(slots=True)
class Call:
    """A tool call while it comes in."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Answer:
    """What has come of one request so far.

    Attributes:
        parts: text and reasoning, in the order in which they came.
        calls: of tools, in order.
        finish_reason: None until it has ended.
    """

    parts: list[Part] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    finish_reason: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, Any] = field(default_factory=dict)
    _held: str = ""
    _thinking: bool = False
    _spoken: bool = False

    def take(self, chunk: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Add one chunk; what is new as (`text` or `reasoning`, words)."""
        for name in ("usage", "timings"):
            if isinstance(chunk.get(name), dict):
                setattr(self, name, dict(chunk[name]))
        new: list[tuple[str, str]] = []
        for choice in (chunk.get("choices") or ())[:1]:
            delta = choice.get("delta") or {}
            if delta.get("reasoning_content"):
                new.append(("reasoning", str(delta["reasoning_content"])))
            if delta.get("content"):
                new.extend(self._split(str(delta["content"])))
            for call in delta.get("tool_calls") or ():
                self._call(call)
            if choice.get("finish_reason"):
                self.finish_reason = str(choice["finish_reason"])
        for kind, words in new:
            self._add(kind, words)
        return new

    def end(self) -> list[tuple[str, str]]:
        """What was held back because it might have been the beginning of a mark."""
        held, self._held = self._held, ""
        if not held:
            return []
        kind = "reasoning" if self._thinking else "text"
        self._add(kind, held)
        return [(kind, held)]

    def _split(self, words: str) -> list[tuple[str, str]]:
        """Thoughts that a model writes into its text between `<think>` and `</think>`, at the beginning."""
        if self._spoken:
            return [("text", words)]
        held = self._held + words
        if not self._thinking:
            start = held.lstrip()
            if _OPEN.startswith(start[: len(_OPEN)]) and len(start) < len(_OPEN):
                self._held = held
                return []
            if not start.startswith(_OPEN):
                self._held, self._spoken = "", True
                return [("text", held)]
            self._thinking, held = True, start.removeprefix(_OPEN).lstrip()
        thought, found, spoken = held.partition(_CLOSE)
        if found:
            self._held, self._thinking, self._spoken = "", False, True
            return [one for one in (("reasoning", thought), ("text", spoken.lstrip())) if one[1]]
        keep = next((n for n in range(len(_CLOSE) - 1, 0, -1) if held.endswith(_CLOSE[:n])), 0)
        self._held = held[len(held) - keep :]
        thought = held[: len(held) - keep]
        return [("reasoning", thought)] if thought else []

    def _add(self, kind: str, words: str) -> None:
        part = Text if kind == "text" else Reasoning
        last = self.parts[-1] if self.parts else None
        if isinstance(last, part):
            self.parts[-1] = part(last.text + words)
        else:
            self.parts.append(part(words))

    def _call(self, sent: Mapping[str, Any]) -> None:
        index = int(sent.get("index", len(self.calls)))
        while len(self.calls) <= index and len(self.calls) < 32:
            self.calls.append(Call())
        if index >= len(self.calls):
            return
        call, function = self.calls[index], sent.get("function") or {}
        call.id = str(sent.get("id") or call.id)
        call.name += str(function.get("name") or "")
        call.arguments += str(function.get("arguments") or "")


def tools_of(answer: Answer, round_number: int) -> list[Tool]:
    """The calls of an answer as parts, each with an id."""
    return [
        Tool(id=call.id or f"call_{round_number}_{place}", name=call.name, arguments=call.arguments or "{}")
        for place, call in enumerate(answer.calls)
        if call.name
    ]


def summed(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Usage or timings of several requests as those of one."""
    found = dict(later)
    for name, value in earlier.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            now = found.get(name, 0)
            found[name] = value + (now if isinstance(now, int | float) else 0)
    for kind in ("prompt", "predicted"):
        number, spent_ms = found.get(f"{kind}_n"), found.get(f"{kind}_ms")
        if earlier and number and spent_ms:
            found[f"{kind}_per_second"] = number / spent_ms * 1000
            found[f"{kind}_per_token_ms"] = spent_ms / number
    return found
