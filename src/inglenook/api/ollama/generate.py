# SPDX-License-Identifier: Apache-2.0
"""POST /api/generate: one prompt, with or without the model's template.

raw                the prompt as it is                                  → /completion
suffix             what goes between prompt and suffix                  → /infill
context            the tokens of an earlier answer, gone on with        → /completion
everything else    a system message and one of the user                 → the chat route
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.ollama.answers import End, Piece, chat_pieces, completion_pieces
from inglenook.api.ollama.bodies import JSON, Common, flag, items, read_common, text
from inglenook.api.ollama.chat import (
    Talk,
    answered,
    described,
    holding,
    only_load,
    parameters_of,
    respond,
    talk_of,
)
from inglenook.api.ollama.held import Desk, Held
from inglenook.api.ollama.messages import content_of
from inglenook.api.ollama.names import require_task
from inglenook.api.ollama.writing import GenerateShape, Writer
from inglenook.api.relay import Wait
from inglenook.base.errors import Invalid
from inglenook.catalog.model import LanguageTask
from inglenook.door.caller import FromCaller, caller
from inglenook.door.problem import shown

MAX_CONTEXT_TOKENS: Final = 1 << 20
_MARK: Final = "what-was-answered-before"
"""Stands for an earlier answer, to find what a template writes between it and the next one."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What /api/generate asks for beside `Common`."""

    prompt: str
    suffix: str
    system: str
    raw: bool
    context: tuple[int, ...]
    images: Sequence[object]


def generate_routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["ollama"], dependencies=[Depends(caller)])

    @router.post("/api/generate", **described("An answer to one prompt (Ollama)"))
    async def generate(request: Request, who: FromCaller) -> Response:
        common = await read_common(request, desk.max_body_bytes)
        wanted = _wanted(common.body)
        model = await desk.find(common.name)
        require_task(desk.language, model, "generate", LanguageTask.CHAT)
        writer = Writer(name=common.name, shape=GenerateShape(), clock=desk.clock)
        if not (wanted.prompt or wanted.suffix or wanted.images):
            return await only_load(desk, request, who, common, model, writer)
        system: list[dict[str, Any]] = [{"role": "system", "content": wanted.system}] if wanted.system else []
        said = content_of(wanted.prompt, wanted.images, "images")
        messages: list[dict[str, Any]] = [*system, {"role": "user", "content": said}]
        talk = await talk_of(desk, request, who, common, model, messages)
        asked = _Asked(common, wanted, talk, parameters_of(desk.language.defaults_for(model), common))

        async def objects(wait: Wait) -> AsyncGenerator[dict[str, Any], None]:
            async with holding(desk, who.person, common, model, wait) as held:
                writer.load_ns = held.load_ns
                async for one in asked.objects(held, writer):
                    yield one

        return await respond(request, common, objects)

    return router


def _wanted(body: Mapping[str, Any]) -> Wanted:
    """Raises Invalid."""
    wanted = Wanted(
        prompt=text(body, "prompt"),
        suffix=text(body, "suffix"),
        system=text(body, "system"),
        raw=flag(body, "raw", False),
        context=_tokens(items(body, "context")),
        images=items(body, "images"),
    )
    if text(body, "template"):
        raise Invalid(
            "template: Ollama's templates are Go's, and are not rendered here.",
            field="template",
            hint="the model's own template is used; with raw=true the prompt is taken as it is",
        )
    if wanted.raw and (wanted.system or wanted.context):
        raise Invalid("raw mode does not support template, system, or context", field="raw")
    special = [name for name in ("raw", "suffix", "context") if getattr(wanted, name)]
    if wanted.images and special:
        raise Invalid(f"images and {special[0]} exclude each other.", field="images")
    if wanted.suffix and (wanted.raw or wanted.context):
        raise Invalid(f"suffix and {special[0]} exclude each other.", field="suffix")
    return wanted


def _tokens(sent: Sequence[object]) -> tuple[int, ...]:
    if len(sent) > MAX_CONTEXT_TOKENS:
        raise Invalid(f"context may hold {MAX_CONTEXT_TOKENS} tokens; got {len(sent)}.", field="context")
    for one in sent:
        if isinstance(one, bool) or not isinstance(one, int) or one < 0:
            raise Invalid(f"context must hold numbers of tokens; got {shown(one)}.", field="context")
    return tuple(one for one in sent if isinstance(one, int))


class _Asked:
    """One request, on its way through the one of the child's routes that fits."""

    def __init__(self, common: Common, wanted: Wanted, talk: Talk, parameters: Mapping[str, Any]) -> None:
        self._common = common
        self._wanted = wanted
        self._talk = talk
        self._plain = {name: value for name, value in parameters.items() if name != "system"}

    async def objects(self, held: Held, writer: Writer) -> AsyncGenerator[dict[str, Any], None]:
        if self._wanted.suffix:
            made = self._infill(held, writer)
        elif self._wanted.raw:
            made = self._completed(held, writer, self._wanted.prompt, [])
        elif self._wanted.context:
            before = [*self._wanted.context, *await self._continuation(held)]
            made = self._completed(held, writer, before, before)
        else:
            made = self._answered(held, writer)
        async for one in made:
            yield one

    async def _answered(self, held: Held, writer: Writer) -> AsyncGenerator[dict[str, Any], None]:
        said: list[str] = []
        async for one in writer.objects(chat_pieces(await answered(held, self._talk))):
            said.append(one["response"])
            if one["done"] and not self._talk.pictures:  # a picture has no tokens that could be sent again
                one["context"] = await self._context(held, "".join(said))
            yield one

    async def _completed(
        self, held: Held, writer: Writer, prompt: str | list[int], before: list[int]
    ) -> AsyncGenerator[dict[str, Any], None]:
        tokens: list[int] = []

        async def pieces() -> AsyncGenerator[Piece | End, None]:
            events = held.stream("/completion", {**self._parameters(), "prompt": prompt})
            async for piece in completion_pieces(events):
                if isinstance(piece, Piece):
                    tokens.extend(piece.tokens)
                yield piece

        async for one in writer.objects(pieces()):
            if one["done"] and before:
                one["context"] = [*before, *tokens]
            yield one

    async def _infill(self, held: Held, writer: Writer) -> AsyncGenerator[dict[str, Any], None]:
        body = {
            **self._parameters(),
            "input_prefix": self._wanted.prompt,
            "input_suffix": self._wanted.suffix,
        }
        try:
            async for one in writer.objects(completion_pieces(held.stream("/infill", body))):
                yield one
        except Invalid as error:
            if error.code != "model.wrong_task":
                raise
            name = shown(str(held.model.id))
            raise Invalid(f"{name} does not support insert", field="suffix", code=error.code) from None

    def _parameters(self) -> dict[str, Any]:
        body: dict[str, Any] = {"stream": True, "return_tokens": True, **self._plain}
        if self._common.form is not None:
            body["json_schema"] = {"type": "object"} if self._common.form == JSON else self._common.form
        if self._common.top_logprobs is not None:
            body["n_probs"] = max(1, self._common.top_logprobs)
        return body

    async def _context(self, held: Held, said: str) -> list[int]:
        """The tokens of the whole conversation, for a client that sends them back with its next prompt."""
        asked = await _templated(held, self._talk.body["messages"])
        return await _tokenised(held, asked + said)

    async def _continuation(self, held: Held) -> list[int]:
        """The tokens of the new prompt, from the end of the last answer to the beginning of the next."""
        before = [{"role": "user", "content": "…"}, {"role": "assistant", "content": _MARK}]
        user = {"role": "user", "content": self._wanted.prompt}
        _, mark, rest = (await _templated(held, [*before, user])).partition(_MARK)
        if not mark:  # the template leaves out earlier answers
            rest = await _templated(held, [user])
        return await _tokenised(held, rest, special=not mark)


async def _templated(held: Held, messages: Sequence[Mapping[str, Any]]) -> str:
    return str((await held.ask("/apply-template", {"messages": list(messages)}))["prompt"])


async def _tokenised(held: Held, content: str, *, special: bool = True) -> list[int]:
    """`special`: whether what a model wants at its very beginning is put there."""
    body = {"content": content, "add_special": special, "parse_special": True}
    return list((await held.ask("/tokenize", body))["tokens"])
