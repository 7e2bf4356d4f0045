# SPDX-License-Identifier: Apache-2.0
"""Tools of our own: a chat that draws. The model calls, the server draws, and the model goes on.

The pictures go through the same queue as everybody's. While one is drawn, the language model's place is given
back: on a device that holds only one of the two, each goes for the other.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from inglenook.api.errands import Errands
from inglenook.api.errors import error_of_job
from inglenook.api.language import calling, conversing
from inglenook.api.language.calls import Call
from inglenook.api.language.fields import Fields
from inglenook.api.language.pictures import Asker, Pictures
from inglenook.api.language.tools import Tool
from inglenook.api.openai import requests
from inglenook.api.openai.fields import EditFields, GenerationFields, read
from inglenook.api.relay import Ask, Relay, Wait, words_of
from inglenook.base.errors import Failed, InglenookError, Invalid
from inglenook.base.ids import PictureId
from inglenook.catalog.model import ModelRecord
from inglenook.door.problem import shown
from inglenook.door.services import Catalog, Images, Jobs, Links
from inglenook.images.model import ImageRequest
from inglenook.jobs.model import EventType, JobEvent, JobState

FIELD: Final = "inglenook_tools"
KIND: Final = "inglenook"
MAX_ROUNDS: Final = 4
"""How often a model may draw before it must answer in words."""
_PROMPT: Final = {"type": "string", "description": "what the picture shows", "minLength": 3, "maxLength": 400}
_SHAPES: Final = {"square": 0, "landscape": 1, "portrait": -1}
_ALT_CHARS: Final = 120

GENERATE: Final = Tool(
    "generate_image",
    "Draws a picture and shows it to the user.",
    {
        "type": "object",
        "properties": {"prompt": _PROMPT, "shape": {"type": "string", "enum": list(_SHAPES)}},
        "required": ["prompt"],
        "additionalProperties": False,
    },
)
EDIT: Final = Tool(
    "edit_image",
    "Changes a picture of this conversation and shows the result to the user.",
    {
        "type": "object",
        "properties": {
            "prompt": _PROMPT | {"description": "what the picture shows after the change"},
            "picture": {
                "type": "integer",
                "minimum": 1,
                "maximum": 99,
                "description": "its number in this conversation, from 1; the last one where it is left out",
            },
        },
        "required": ["prompt"],
        "additionalProperties": False,
    },
)
_TOOLS: Final[Mapping[str, Tool]] = {tool.name: tool for tool in (GENERATE, EDIT)}
_SHOWN: Final = re.compile(r"!\[[^\]]{0,400}\]\(([^)\s]{1,2000})\)")
"""A picture in an answer that was given before."""


@dataclass(frozen=True, slots=True)
class OwnTool:
    """A tool of ours that a request asks for. `fixed`: fields of /v1/images/… that the caller has decided."""

    tool: Tool
    fixed: Mapping[str, Any] = field(default_factory=dict)


def own_tools(fields: Fields) -> dict[str, OwnTool]:
    """By name; taken out of `fields`. Raises Invalid for one that does not exist."""
    asked = [(one, f"{FIELD}.{index}") for index, one in enumerate(fields.list(FIELD) or ())]
    if fields.mentions("tools", b'"inglenook"'):
        tools = fields.list("tools") or []
        ours = [one for one in tools if isinstance(one, dict) and one.get("type") == KIND]
        asked += [(one, f"tools.{tools.index(one)}") for one in ours]
        rest = [one for one in tools if not (isinstance(one, dict) and one.get("type") == KIND)]
        if rest:
            fields.put({"tools": rest})
        else:
            fields.drop("tools")
    fields.drop(FIELD)
    found = [_own_tool(one, where) for one, where in asked]
    return {one.tool.name: one for one in found}


def _own_tool(sent: object, where: str) -> OwnTool:
    given = {"name": sent} if isinstance(sent, str) else sent
    name = given.get("name") if isinstance(given, dict) else None
    if not isinstance(given, dict) or not isinstance(name, str) or name not in _TOOLS:
        raise Invalid(
            f"{where} is none of our tools: {shown(sent)}.",
            field=where,
            hint=f"there are {', '.join(_TOOLS)}",
        )
    fixed = {key: value for key, value in given.items() if key not in ("name", "type")}
    read(GenerationFields if name == GENERATE.name else EditFields, {**fixed, "prompt": "x"}, from_form=False)
    return OwnTool(_TOOLS[name], fixed)


@dataclass(slots=True)
class _Drawn:
    """A picture that was made, as an answer tells of it."""

    id: str
    url: str
    prompt: str
    width: int
    height: int
    seed: int
    media_type: str

    @property
    def markdown(self) -> str:
        words = " ".join(self.prompt.replace("[", "(").replace("]", ")").split())[:_ALT_CHARS]
        return f"![{words}]({self.url})"

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class _Turns:
    """A conversation that goes on while it is answered.

    Attributes:
        pictures: addresses of all pictures in it, in order.
        frame: what all pieces of the answer have in common: the first round's.
    """

    ask: Ask
    body: dict[str, Any]
    own: Mapping[str, OwnTool]
    asker: Asker
    wait: Wait
    pictures: list[str]
    frame: dict[str, Any] = field(default_factory=dict)
    totals: dict[str, Any] = field(default_factory=dict)

    def piece(self, delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**self.frame, "choices": [{"index": 0, "delta": dict(delta), "finish_reason": finish}]}


class Drawing:
    """The loop of a chat with tools of ours."""

    def __init__(
        self,
        *,
        relay: Relay,
        images: Images,
        jobs: Jobs,
        catalog: Catalog,
        links: Links,
        pictures: Pictures,
    ) -> None:
        self._relay = relay
        self._images = images
        self._errands = Errands(jobs)
        self._catalog = catalog
        self._links = links
        self._pictures = pictures

    async def pieces(
        self, ask: Ask, body: Mapping[str, Any], own: Mapping[str, OwnTool], asker: Asker, wait: Wait
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The answer in OpenAI's `chat.completion.chunk`s; one with pictures has `images` beside `content`.

        Raises:
            InglenookError: as `Relay.hold` and `conversing.pieces`. What goes wrong with a picture is told to
                the model instead.
        """
        if body.get("n") not in (None, 1):
            raise Invalid(f"n is {shown(body['n'])}; with {FIELD} it is 1.", field="n")
        turns = _Turns(ask, _with_tools(body, own), own, asker, wait, _pictures_of(body.get("messages")))
        for number in range(MAX_ROUNDS + 1):
            if number == MAX_ROUNDS:
                turns.body = {**turns.body, "tool_choice": "none"}
            message: dict[str, Any] = {"role": "assistant", "content": None}
            finish: str | None = None
            async with aclosing(self._round(turns, message)) as answering:
                async for piece, end in answering:
                    finish = end or finish
                    if piece is not None:
                        yield piece
            calls = calling.calls_of(message)
            theirs = [call for call in calls if call.name not in own]
            if theirs or not calls:
                if theirs:
                    told = [{"index": index, **call.as_json()} for index, call in enumerate(theirs)]
                    yield turns.piece({"tool_calls": told})
                yield turns.piece({}, finish or "stop")
                break
            turns.body["messages"] = [*turns.body["messages"], message]
            turns.body["tool_choice"] = "auto"
            for call in calls:
                drawn, result = await self._carried_out(call, turns)
                turns.body["messages"].append(
                    {"role": "tool", "tool_call_id": call.id, "name": call.name, "content": result}
                )
                if drawn:
                    shown_here = "\n\n".join(one.markdown for one in drawn)
                    images = [one.as_json() for one in drawn]
                    yield turns.piece({"content": f"{shown_here}\n\n", "images": images})
        yield {**turns.frame, "choices": [], **turns.totals}

    async def _round(
        self, turns: _Turns, message: dict[str, Any]
    ) -> AsyncGenerator[tuple[dict[str, Any] | None, str | None], None]:
        """One answer of the model, with its place held; `message` gathers it."""
        async with self._relay.hold(turns.ask, turns.wait) as held:
            sees = (await held.props()).pictures
            body = turns.body if sees else {**turns.body, "messages": _blinded(turns.body["messages"])}
            order = conversing.order_of(replace(turns.ask, body=msgspec.json.encode(body)), body)
            async with aclosing(conversing.pieces(held, order, turns.wait)) as answering:
                async for piece in answering:
                    first = not turns.frame
                    if first:
                        turns.frame = _frame(piece)
                    turns.totals |= {name: piece[name] for name in ("timings",) if name in piece}
                    turns.totals["usage"] = calling.summed(turns.totals.get("usage"), piece.get("usage"))
                    for part in piece["choices"]:
                        delta = part.get("delta") or {}
                        calling.add_delta(message, delta)
                        told = {
                            name: value for name, value in delta.items() if name != "tool_calls" and value
                        }
                        if not first:
                            told.pop("role", None)
                        yield (turns.piece(told) if told else None), part.get("finish_reason")

    async def _carried_out(self, call: Call, turns: _Turns) -> tuple[list[_Drawn], str]:
        """The pictures of one call, and what the model is told of it."""
        try:
            arguments = msgspec.json.decode(call.arguments)
            if not isinstance(arguments, dict):
                raise Invalid(f"The arguments must be an object; got {shown(arguments)}.")
            asked = await self._asked(call.name, arguments, turns)
            drawn = await self._draw(asked, turns)
        except (InglenookError, msgspec.DecodeError) as error:
            told = error.message if isinstance(error, InglenookError) else str(error)
            return [], msgspec.json.encode({"error": told}).decode()
        numbers = [len(turns.pictures) + 1 + index for index in range(len(drawn))]
        turns.pictures += [one.url for one in drawn]
        result = {
            "shown": True,
            "pictures": numbers,
            "note": "The user sees the picture. Do not draw it again.",
        }
        return drawn, msgspec.json.encode(result).decode()

    async def _asked(self, name: str, arguments: Mapping[str, Any], turns: _Turns) -> ImageRequest:
        fixed = turns.own[name].fixed
        model = await asyncio.to_thread(self._catalog.resolve, str(fixed.get("model", "auto")))
        sent = {"prompt": arguments.get("prompt")} | _size(arguments.get("shape"), model) | dict(fixed)
        if name == GENERATE.name:
            return requests.generation(read(GenerationFields, sent, from_form=False), model)
        picture = await self._pictures.bytes_of(_chosen(arguments, turns.pictures), "picture", turns.asker)
        kept = await self._images.keep_input(picture)
        return requests.edit(read(EditFields, sent, from_form=False), model, images=[kept], mask=None)

    async def _draw(self, asked: ImageRequest, turns: _Turns) -> list[_Drawn]:
        """Raises what the job failed with. Cancelling the call cancels the job."""
        person = turns.asker.person
        job = await self._images.submit(asked, owner=person)
        turns.wait.words = "a picture is to be drawn"

        async def tell(event: JobEvent) -> None:
            if event.type is EventType.PROGRESS:
                turns.wait.words = _progress(event.data)
            elif event.type is EventType.WAIT:
                turns.wait.words = f"the picture is {words_of(event.data)}"

        done = await self._errands.done(job, person, tell)
        if done.state is not JobState.SUCCEEDED:
            raise Failed(f"The job was {done.state}.") if done.error is None else error_of_job(done.error)
        parts = sorted(done.result.get("parts", []), key=lambda part: part["index"])
        return [self._drawn(part, asked.prompt, turns.asker) for part in parts]

    def _drawn(self, part: Mapping[str, Any], prompt: str, asker: Asker) -> _Drawn:
        name = self._links.name(PictureId(part["picture_id"]), part["media_type"])
        return _Drawn(
            id=part["picture_id"],
            url=f"{asker.base_url}images/{name}",
            prompt=prompt,
            width=part["width"],
            height=part["height"],
            seed=part["seed"],
            media_type=part["media_type"],
        )


def _with_tools(body: Mapping[str, Any], own: Mapping[str, OwnTool]) -> dict[str, Any]:
    tools = [
        {
            "type": "function",
            "function": {
                "name": one.tool.name,
                "description": one.tool.description,
                "parameters": one.tool.parameters,
            },
        }
        for one in own.values()
    ]
    return {
        **body,
        "tools": [*(body.get("tools") or ()), *tools],
        "messages": list(body.get("messages") or ()),
    }


def _frame(piece: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in piece.items() if name not in ("choices", "usage", "timings")}


def _pictures_of(messages: object) -> list[str]:
    """Addresses of the pictures of a conversation, in order, sent ones and drawn ones."""
    found: list[str] = []
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            found += [part["image_url"]["url"] for part in content if _is_picture(part)]
        elif isinstance(content, str) and message.get("role") == "assistant":
            found += [
                match for match in _SHOWN.findall(content) if urlsplit(match).path.startswith("/images/")
            ]
    return found


def _is_picture(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") == "image_url"


def _blinded(messages: Sequence[Any]) -> list[Any]:
    """For a model that sees no pictures: each is a number that it can speak of."""
    number = 0
    found = []
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, list):
            found.append(message)
            continue
        parts = []
        for part in content:
            if _is_picture(part):
                number += 1
                parts.append({"type": "text", "text": f"[picture {number}]"})
            else:
                parts.append(part)
        found.append({**message, "content": parts})
    return found


def _chosen(arguments: Mapping[str, Any], pictures: Sequence[str]) -> str:
    number = arguments.get("picture", len(pictures))
    if not pictures:
        raise Invalid("There is no picture in this conversation yet.", hint="draw one with generate_image")
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= len(pictures):
        raise Invalid(f"There is no picture {shown(number)}; there are {len(pictures)}, counted from 1.")
    return pictures[number - 1]


def _size(shape: object, model: ModelRecord) -> dict[str, Any]:
    """The first of the model's sizes with that shape; its own default where there is none."""
    if shape not in _SHAPES or model.image is None:
        return {}
    for width, height in model.image.fixed or model.image.sizes:
        if (width > height) - (width < height) == _SHAPES[str(shape)]:
            return {"size": f"{width}x{height}"}
    return {}


def _progress(data: Mapping[str, Any]) -> str:
    words = ["the picture is drawn"]
    if {"step", "steps"} <= data.keys():
        words.append(f"step {data['step']} of {data['steps']}")
    return ", ".join(words)
