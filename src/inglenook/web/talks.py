# SPDX-License-Identifier: Apache-2.0
"""Conversations and their messages as the Chat page shows them. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inglenook.base.ids import ModelId
from inglenook.catalog.model import ModelRecord
from inglenook.chat.conversations.model import (
    Conversation,
    Image,
    Message,
    MessageState,
    Part,
    Reasoning,
    Role,
    Text,
    Tool,
    Turn,
)
from inglenook.chat.model import ModelState
from inglenook.web.words import about, capfirst, count, join

UNTITLED = "New conversation"
_ENDS: Mapping[str, str] = {
    "cancelled": "Stopped.",
    "client_gone": "Stopped: the page that asked was left.",
    "shutdown": "Stopped: the server was stopped.",
    "interrupted": "Stopped: the server ended in the middle of it.",
}


@dataclass(frozen=True, slots=True)
class TalkRow:
    """One line of the list."""

    id: str
    title: str
    pinned: bool
    when: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture. `file`: its address; `page`: where more is told of it, "" for one that was given here."""

    file: str
    small: str
    page: str


@dataclass(frozen=True, slots=True)
class PartView:
    """`kind`: text, reasoning, image, tool. `note`: what is said of a tool call."""

    kind: str
    text: str = ""
    note: str = ""
    failed: bool = False
    pictures: tuple[Shown, ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """One message on the path.

    Attributes:
        parent: id, "" at a root. before, after: the brother to the left and to the right, "" for none.
        place, of: 1 to `of`. note: why it ended early. problem: (message, hint) of one that failed.
        pictures: the pictures of a person's message as JSON parts, for sending it anew.
    """

    id: str
    parent: str
    mine: bool
    who: str
    state: str
    parts: tuple[PartView, ...]
    place: int
    of: int
    before: str
    after: str
    note: str
    problem: tuple[str, str] | None
    facts: str
    pictures: str
    last: bool


def talk_row(conversation: Conversation) -> TalkRow:
    return TalkRow(
        conversation.id,
        conversation.title or UNTITLED,
        conversation.pinned,
        conversation.updated_at.isoformat(),
    )


def said(turns: Sequence[Turn], titles: Mapping[ModelId, str]) -> list[Said]:
    """Args:
    titles: of models, by id.
    """
    return [_said(turn, titles, last=turn is turns[-1]) for turn in turns]


def _said(turn: Turn, titles: Mapping[ModelId, str], *, last: bool) -> Said:
    message, brothers, place = turn.message, turn.brothers, turn.place
    error = message.error
    given = [{"type": "image", **_named(part)} for part in message.parts if isinstance(part, Image)]
    return Said(
        id=message.id,
        parent=message.parent or "",
        mine=message.role is Role.USER,
        who="You"
        if message.role is Role.USER
        else titles.get(ModelId(message.model), message.model) or "Model",
        state=message.state,
        parts=tuple(_part(part) for part in message.parts),
        place=place + 1,
        of=len(brothers),
        before=brothers[place - 1] if place > 0 else "",
        after=brothers[place + 1] if place + 1 < len(brothers) else "",
        note=_note(message),
        problem=None if error is None else (str(error.get("message") or ""), str(error.get("hint") or "")),
        facts=facts(message),
        pictures=json.dumps(given),
        last=last,
    )


def _note(message: Message) -> str:
    if message.state is MessageState.STOPPED:
        return _ENDS.get(str(message.finish_reason), "Stopped.")
    if message.finish_reason == "length":
        return "It ends here because the most tokens that it may have are used up."
    return ""


def facts(message: Message) -> str:
    """``12 tokens · 27.7 tokens/s · 33 in the prompt``; empty where nothing is known."""
    usage, timings = message.usage, message.timings
    made = usage.get("completion_tokens", timings.get("predicted_n"))
    read = usage.get("prompt_tokens")
    speed = timings.get("predicted_per_second")
    return join(
        [
            count(int(made), "token", "tokens") if made else "",
            f"{float(speed):.1f} tokens/s" if speed else "",
            f"{int(read)} in the prompt" if read else "",
        ]
    )


def _named(part: Image) -> dict[str, str]:
    return {"picture": part.picture} if part.picture is not None else {"blob": part.blob or ""}


def _part(part: Part) -> PartView:
    if isinstance(part, Text):
        return PartView("text", part.text)
    if isinstance(part, Reasoning):
        return PartView("reasoning", part.text)
    if isinstance(part, Image):
        return PartView("image", pictures=(_shown(part),))
    return PartView(
        "tool",
        text=_prompt(part),
        note=part.result or "" if part.failed else "",
        failed=part.failed,
        pictures=tuple(_shown(Image(picture=it)) for it in part.pictures),
    )


def _shown(image: Image) -> Shown:
    if image.picture is not None:
        file = f"/v1/pictures/{image.picture}"
        return Shown(f"{file}/file", f"{file}/thumbnail", f"/pictures/{image.picture}")
    file = f"/v1/conversations/pictures/{image.blob}"
    return Shown(file, file, "")


def _prompt(tool: Tool) -> str:
    """What was asked of a tool, in words."""
    verb = {"generate_image": "Draws", "edit_image": "Changes a picture"}.get(tool.name, tool.name)
    try:
        asked = json.loads(tool.arguments)
    except ValueError:
        asked = None
    prompt = asked.get("prompt") if isinstance(asked, dict) else None
    return f"{verb}: {prompt}" if prompt else f"{verb}: {tool.arguments}"


# -- models ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TalkModel:
    """One line of the picker. `standing`: ready, starting, cold, problem. `defaults`: what is set (JSON)."""

    id: ModelId
    title: str
    standing: str
    words: str
    usable: bool
    sees: bool
    context: int
    defaults: str

    @property
    def option(self) -> str:
        return f"{self.title} · {self.words}"


_STANDING: Mapping[str, str] = {
    "ready": "ready",
    "loading": "starting",
    "unusable": "problem",
    "failed": "problem",
}


def talk_model(
    record: ModelRecord, state: ModelState, *, sees: bool, defaults: Mapping[str, Any]
) -> TalkModel:
    return TalkModel(
        id=record.id,
        title=record.title or record.id,
        standing=_STANDING.get(state.state, "cold"),
        words=model_words(state),
        usable=state.state != "unusable",
        sees=sees,
        context=0 if record.language is None else record.language.context,
        defaults=json.dumps(dict(defaults)),
    )


def model_words(state: ModelState) -> str:
    if state.state in ("unusable", "failed"):
        fact, _, hint = str(state.problem).partition("\nhint: ")
        return f"problem: {fact}" + (f" {capfirst(hint)}." if hint else "")
    if state.state == "ready":
        return "ready"
    if state.state == "loading":
        return "being loaded" if state.away_s is None else f"being loaded, {about(state.away_s)} left"
    return "not loaded" if state.away_s is None else f"{about(state.away_s)} away"
