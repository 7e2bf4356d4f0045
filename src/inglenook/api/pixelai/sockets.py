# SPDX-License-Identifier: Apache-2.0
"""/pixel/ws: sprites for an editor that must not stand still. One socket a dialog.

    client  hello, upload + pixels, generate, cancel, ping
    server  ready, queued, progress, preview + pixels, frame + pixels, done, cancelling, error, pong

The key comes with the hello, never in the address. A socket that closes calls off what it asked for.
"""

import asyncio
import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from fastapi import APIRouter, Depends
from starlette.websockets import WebSocket, WebSocketDisconnect

from inglenook.api.pixelai.answers import facts_of, failure_of, seed_of
from inglenook.api.pixelai.asked import Asked, read
from inglenook.api.pixelai.desk import Desk, Given, Made, check_inputs
from inglenook.api.pixelai.hall import Hall
from inglenook.api.pixelai.keys import MAX_KEY_CHARS, caller_with
from inglenook.api.pixelai.milestones import Standing
from inglenook.api.pixelai.reading import Fields, uuid_of
from inglenook.api.pixelai.rgba import Raw, png_of, raw_of
from inglenook.api.pixelai.shapes import NotAnId, failure
from inglenook.api.pixelai.tracks import Track
from inglenook.api.pixelai.uploads import Announced, Uploads
from inglenook.base.cancel import StopReason
from inglenook.base.errors import Busy, Conflict, Failed, InglenookError, Invalid, NotFound
from inglenook.base.ids import PersonId
from inglenook.door.caller import caller
from inglenook.door.problem import problem_of, shown
from inglenook.door.services import SpriteMaking
from inglenook.jobs.model import EventType, JobEvent

VERSION: Final = 1
"""Of the protocol: rises when a message changes its meaning."""
HELLO_WITHIN_S: Final = 15.0
MOST_AT_ONCE: Final = 8
"""Unfinished generations of one socket; whoever wants more opens another."""
MAX_TEXT_CHARS: Final = 4_000_000
_POLICY_VIOLATION: Final = 1008
_KNOWN: Final = ("upload", "generate", "cancel", "ping")


def socket_routes(
    desk: Desk, *, sprites: SpriteMaking, hall: Hall, hello_within_s: float = HELLO_WITHIN_S
) -> APIRouter:
    router = APIRouter(dependencies=[Depends(caller)])

    @router.websocket("/pixel/ws")
    async def pixel_socket(socket: WebSocket) -> None:
        await socket.accept()
        talk = Talk(socket, desk=desk, sprites=sprites, hall=hall)
        try:
            await talk.run(hello_within_s)
        except* (WebSocketDisconnect, OSError):  # how it is learned that the editor has gone
            pass

    return router


class Talk:
    """One open socket. `run` is the only reader; whoever writes holds the lock for a whole message and the
    pixels that belong to it."""

    def __init__(self, socket: WebSocket, *, desk: Desk, sprites: SpriteMaking, hall: Hall) -> None:
        self._socket = socket
        self._desk = desk
        self._sprites = sprites
        self._hall = hall
        self._sending = asyncio.Lock()
        self._uploads = Uploads()
        self._announced: Announced | None = None
        self._refused_upload = False
        self._tracks: dict[str, Track] = {}

    async def run(self, hello_within_s: float) -> None:
        """Until the client goes. Raises an ExceptionGroup, with `WebSocketDisconnect` where it has gone."""
        person = await self._greet(hello_within_s)
        if person is None:
            return
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._hear(await self._receive(), person, group)
        finally:
            for track in self._tracks.values():
                self._desk.cancel(track, StopReason.CLIENT_GONE)

    # -- the hello -----------------------------------------------------------------------------------

    async def _greet(self, within_s: float) -> PersonId | None:
        """Who it is, once it has said so; None where it was sent away."""
        try:
            async with asyncio.timeout(within_s):
                fields = Fields(_object(await self._receive()))
            person = await self._identify(fields)
            ready = await self._hall.ready(person)
        except TimeoutError:
            late = Invalid(
                f"No hello came within {within_s:g} s.", code="request.missing_field", field="type"
            )
            await self._send_away(late)
            return None
        except InglenookError as error:
            await self._send_away(error)
            return None
        await self._send({"type": "ready", "protocol": VERSION, **ready})
        return person

    async def _identify(self, fields: Fields) -> PersonId:
        if fields.raw("type") != "hello":
            raise Invalid(
                f"The first message must be a hello; got {shown(fields.raw('type'))}.", field="type"
            )
        fields.require_known(("type", "key", "client", "version"))
        version = fields.whole("version", VERSION, 0, 2**31)
        if version != VERSION:
            raise Invalid(
                f"This server speaks version {VERSION} of the protocol; the client speaks {version}.",
                field="version",
                hint="install the extension that belongs to this server",
            )
        return (await caller_with(self._socket, fields.words("key", most=MAX_KEY_CHARS))).person

    async def _send_away(self, error: InglenookError) -> None:
        await self._say_error(error, None)
        await self._socket.close(_POLICY_VIOLATION)

    # -- what comes in -------------------------------------------------------------------------------

    async def _receive(self) -> str | bytes:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        data = message.get("bytes")
        return str(message["text"]) if data is None else bytes(data)

    async def _hear(self, data: str | bytes, person: PersonId, group: asyncio.TaskGroup) -> None:
        """Answer one message. A mistake in it is told, and the socket stays open."""
        said: Mapping[str, Any] = {}
        try:
            if isinstance(data, bytes):
                self._take(data)
                return
            said = _object(data)
            await self._act(said, person, group)
        except InglenookError as error:
            await self._say_error(error, said.get("id"))

    def _take(self, data: bytes) -> None:
        """The pixels of an upload. Those of one that was refused have been complained about already."""
        announced, self._announced = self._announced, None
        refused, self._refused_upload = self._refused_upload, False
        if announced is not None:
            self._uploads.keep(announced, data)
        elif not refused:
            raise Invalid(f"{len(data)} bytes came, and no upload was announced.", field="type")

    async def _act(self, said: Mapping[str, Any], person: PersonId, group: asyncio.TaskGroup) -> None:
        kind = said.get("type")
        if kind == "upload":
            self._announced, self._refused_upload = None, True
            self._announced = self._uploads.announce(said)
            self._refused_upload = False
        elif kind == "generate":
            track = self._generate(said, person)
            group.create_task(self._serve(track), name=f"pixel socket {track.id}")
        elif kind == "cancel":
            await self._cancel(said)
        elif kind == "ping":
            await self._send({"type": "pong"})
        else:
            raise Invalid(
                f"There is no message of the type {shown(kind)}.",
                field="type",
                hint=f"known: {', '.join(_KNOWN)}",
            )

    def _generate(self, said: Mapping[str, Any], person: PersonId) -> Track:
        """Begin it; its task tells everything that comes of it."""
        generation_id = _id_of(said)
        if generation_id in self._tracks:
            raise Conflict(f"{generation_id} is under way.", code="pixel.id_taken", field="id")
        if len(self._tracks) >= MOST_AT_ONCE:
            raise Busy(
                f"{len(self._tracks)} generations of this dialog are under way.",
                code="job.person_queue_full",
                hint="wait for one, or cancel one",
            )
        fields = {name: value for name, value in said.items() if name not in ("type", "id")}
        asked = read({**fields, "generation_id": generation_id})
        check_inputs(asked)
        named = self._named(asked)
        track = self._desk.begin(asked, lambda: self._kept(*named), person=person)
        self._tracks[generation_id] = track
        return track

    async def _cancel(self, said: Mapping[str, Any]) -> None:
        track = self._tracks.get(_id_of(said))
        if track is None:
            raise NotFound(f"{shown(said.get('id'))} is not under way.", code="pixel.unknown_generation")
        self._desk.cancel(track)
        await self._send({"type": "cancelling", "id": track.id})

    # -- one generation ------------------------------------------------------------------------------

    async def _serve(self, track: Track) -> None:
        try:
            await self._tell(track)
            await self._deliver(await self._desk.made(track))
        except InglenookError as error:
            await self._send(_error(failure_of(error, track, hinted=False), track.id))
        finally:
            if track.ended.is_set():  # else the socket has closed, and `run` calls it off
                self._tracks.pop(track.id, None)

    def _named(self, asked: Asked) -> tuple[Raw | None, Raw | None]:
        """The uploads that are named, as they are now. Raises Invalid."""
        if asked.init_image is None:
            return None, None
        canvas = self._uploads.get(asked.init_image, field="init_image")
        mask = None if asked.mask is None else self._uploads.get(asked.mask, field="mask")
        if mask is not None and (mask.width, mask.height) != (canvas.width, canvas.height):
            raise Invalid(
                f"The mask is {mask.width}x{mask.height}, the picture {canvas.width}x{canvas.height}.",
                field="mask",
                hint="send a mask of the same size as the picture",
            )
        return canvas, mask

    async def _kept(self, canvas: Raw | None, mask: Raw | None) -> Given:
        """Raises Invalid, TooLarge."""
        kept = {}
        for name, raw, keep in (
            ("image", canvas, self._sprites.keep_input),
            ("mask", mask, self._sprites.keep_mask),
        ):
            if raw is not None:
                kept[name] = await keep(await asyncio.to_thread(png_of, raw))
        return Given(**kept)

    async def _tell(self, track: Track) -> None:
        """Everything about it until its end."""
        told: Standing | None = None
        async for event in track.events():
            now = track.milestones.now
            if track.asked.previews and event is not None and event.type is EventType.PREVIEW:
                await self._preview(track, event)
            if now.stage == "queued" and (told is None or _queue(told) != _queue(now)):
                await self._send({"type": "queued", "id": track.id, "position": now.position, "why": now.why})
            elif now.stage != "queued" and now != told:
                await self._send(_progress(track.id, now))
            told = now

    async def _preview(self, track: Track, event: JobEvent) -> None:
        with suppress(Failed):  # a view that cannot be shown is no reason to give up what is made
            raw = await asyncio.to_thread(raw_of, base64.b64decode(event.data["b64"]))
            await self._send({"type": "preview", "id": track.id, **_size(raw)}, raw.data)

    async def _deliver(self, made: Made) -> None:
        durations = list(made.result.get("durations_ms") or [])
        for index, frame in enumerate(made.frames):
            await self._send(
                {
                    "type": "frame",
                    "id": made.track.id,
                    "index": index,
                    "count": len(made.frames),
                    **_size(frame),
                    "duration_ms": durations[index % len(durations)] if durations else None,
                },
                frame.data,
            )
        facts = facts_of(made)
        await self._send(
            {
                "type": "done",
                "id": made.track.id,
                "seed": seed_of(made),
                "seconds": round(made.track.elapsed_s, 3),
                **facts,
                "variants": [{"seed": seed} for seed in facts["seeds"]],
            }
        )

    # -- what goes out -------------------------------------------------------------------------------

    async def _say_error(self, error: InglenookError, sent_id: object) -> None:
        await self._send(_error(failure(problem_of(error), hinted=False), uuid_of(sent_id)))

    async def _send(self, message: Mapping[str, Any], pixels: bytes | None = None) -> None:
        async with self._sending:
            await self._socket.send_text(json.dumps(message, ensure_ascii=False))
            if pixels is not None:
                await self._socket.send_bytes(pixels)


def _object(data: str | bytes) -> dict[str, Any]:
    """A message as an object. Raises Invalid."""
    if isinstance(data, bytes):
        raise Invalid(f"{len(data)} bytes came where a message was expected.", field="type")
    if len(data) > MAX_TEXT_CHARS:
        raise Invalid(f"A message may have {MAX_TEXT_CHARS} characters.", code="request.too_large")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise Invalid("The message is not valid JSON.", code="request.not_json") from None
    if not isinstance(found, dict):
        raise Invalid(f"A message must be a JSON object; got {shown(found)}.", code="request.not_json")
    return found


def _id_of(said: Mapping[str, Any]) -> str:
    found = uuid_of(said.get("id"))
    if found is None:
        raise NotAnId(f"id must be a UUID; got {shown(said.get('id'))}.", field="id")
    return found


def _error(said: Mapping[str, Any], generation_id: str | None) -> dict[str, Any]:
    kept = {name: value for name, value in said.items() if name not in ("success", "generation_id")}
    return {"type": "error", "id": generation_id, "hint": None, **kept}


def _queue(standing: Standing) -> tuple[int | None, str | None, str]:
    return standing.position, standing.why, standing.stage


def _progress(generation_id: str, now: Standing) -> dict[str, Any]:
    return {
        "type": "progress",
        "id": generation_id,
        "progress": now.progress,
        "stage": now.stage,
        "step": now.step,
        "steps": now.steps,
        "eta_s": now.eta_s,
        "message": now.message,
    }


def _size(raw: Raw) -> dict[str, int]:
    return {"width": raw.width, "height": raw.height, "bytes": len(raw.data)}
