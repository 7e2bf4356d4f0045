# SPDX-License-Identifier: Apache-2.0
"""Talking to a server that runs on this machine, over its own API."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from inglenook.base import errors
from inglenook.base.errors import Conflict, InglenookError, Unavailable

if TYPE_CHECKING:
    import httpx

    from inglenook.cli.order import Order

CONNECT_TIMEOUT_S = 5.0
LOAD_TIMEOUT_S = 3600.0
"""A model that is being loaded answers when it is ready."""
READ_TIMEOUT_S = 60.0
"""Between two pieces of an answer. An event stream that has nothing to say sends a comment every 15 s."""

_KIND_OF_STATUS = {
    400: errors.Invalid,
    403: errors.Denied,
    404: errors.NotFound,
    405: errors.Invalid,
    409: errors.Conflict,
    413: errors.TooLarge,
    415: errors.Invalid,
    422: errors.Invalid,
    429: errors.Busy,
    499: errors.Cancelled,
    503: errors.Unavailable,
}


def find_server(data: Path) -> str | None:
    """The address of the server that holds the data folder now, or None.

    Raises:
        Conflict: another terminal draws there by itself, so that neither a server nor we can.
    """
    from inglenook.store.lock import running

    info = running(data)
    if info is not None and not info.address:
        raise Conflict(
            f"Process {info.pid} is drawing in the data folder {data} without a server.",
            code="server.none",
            hint="wait until it is done; a server (`inglenook serve`) takes the work of many at once",
        )
    return None if info is None else info.address


def need_server(data: Path) -> str:
    """Raises Unavailable where no server runs."""
    address = find_server(data)
    if address is None:
        raise Unavailable(
            f"No server is running on the data folder {data}.",
            code="server.not_running",
            hint="start one with `inglenook serve`, or name its folder with --data",
        )
    return address


class ServerClient:
    """One server's API. Every method raises the server's own error, or Unavailable when it is gone.

    Use as an asynchronous context manager.
    """

    def __init__(self, address: str) -> None:
        import httpx

        self.address = address.rstrip("/")
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        # No proxy from the environment: the server is on this machine.
        self._http = httpx.AsyncClient(base_url=self.address, timeout=timeout, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def get(self, path: str, params: Sequence[tuple[str, str]] = ()) -> Any:
        """The JSON at `path`."""
        return (await self._send("GET", path, params=list(params))).json()

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON that answers `body`."""
        return (await self._send("POST", path, json={} if body is None else dict(body))).json()

    async def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, wait_s: float = LOAD_TIMEOUT_S
    ) -> Any:
        """The JSON that answers any method. A load may take long: `wait_s` is for that."""
        import httpx

        timeout = httpx.Timeout(wait_s, connect=CONNECT_TIMEOUT_S)
        json_body = {} if body is None else {"json": dict(body)}
        return (await self._send(method, path, timeout=timeout, **json_body)).json()

    async def order(self, path: str, order: "Order") -> Any:
        """Hand in an order for pictures; the job as JSON, at once."""
        headers = {"prefer": "respond-async"}
        if not order.images:
            return (await self._send("POST", path, json=dict(order.fields), headers=headers)).json()
        texts = {
            name: json.dumps(value) if isinstance(value, list) else str(value)
            for name, value in order.fields.items()
        }
        files = [("image[]", ("image", data)) for data in order.images]
        if order.mask is not None:
            files.append(("mask", ("mask", order.mask)))
        return (await self._send("POST", path, data=texts, files=files, headers=headers)).json()

    async def bring(self, name: str, data: bytes, record: Mapping[str, Any] | None = None) -> Any:
        """Import a picture, with its record of ALICE's gallery if any; what was kept or refused."""
        files = [("file", (name, data))]
        if record is not None:
            listed = {"images": {"it": {**record, "filename": name}}}
            files.append(("gallery", ("gallery.json", json.dumps(listed).encode())))
        return (await self._send("POST", "/v1/pictures/import", files=files)).json()

    async def transcribe(self, path: str, fields: Mapping[str, str], file: Path) -> str:
        """Send a recording; what was said in it, in the format that the fields name."""
        import httpx

        patient = httpx.Timeout(None, connect=CONNECT_TIMEOUT_S)  # the answer comes when all was heard
        with file.open("rb") as opened:
            sent = {"file": ("recording", opened)}
            return (await self._send("POST", path, data=dict(fields), files=sent, timeout=patient)).text

    async def predict(self, model: str, files: Sequence[Path], top: int) -> list[dict[str, Any]]:
        """Send pictures; what each shows, in order."""
        import httpx

        patient = httpx.Timeout(LOAD_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        sent = [("image", (f"picture-{place}", file.read_bytes())) for place, file in enumerate(files)]
        told = {"model": model, "top_k": str(top)}
        answer = await self._send("POST", "/v1/vision/predict", data=told, files=sent, timeout=patient)
        return list(answer.json()["data"])

    async def convert(self, frames: Sequence[bytes], recipe: Mapping[str, Any]) -> Any:
        """Have pictures made into sprites, several as one animation; what POST /v1/pixel/convert answers."""
        import httpx

        patient = httpx.Timeout(LOAD_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        sent = [("image", (f"picture-{place}", frame)) for place, frame in enumerate(frames)]
        told = {"recipe": json.dumps(recipe), "animation": str(len(frames) > 1).lower()}
        return (await self._send("POST", "/v1/pixel/convert", data=told, files=sent, timeout=patient)).json()

    async def send_file(self, path: str, field: str, file: Path, name: str, fields: Mapping[str, str]) -> Any:
        """Send one file of any size with some texts, read from the disk while it goes; the JSON answer."""
        import httpx

        patient = httpx.Timeout(None, connect=CONNECT_TIMEOUT_S)
        with file.open("rb") as opened:
            files = {field: (name, opened)}
            sent = await self._send("POST", path, data=dict(fields), files=files, timeout=patient)
            return sent.json()

    async def bytes_at(self, path: str) -> bytes:
        """The file at `path`, which may be a whole URL of the same server."""
        return (await self._send("GET", path)).content

    async def _send(self, method: str, path: str, **more: Any) -> "httpx.Response":
        import httpx

        try:
            response = await self._http.request(method, path, **more)
        except httpx.TransportError as error:
            raise self._gone(error) from error
        _check(response)
        return response

    @asynccontextmanager
    async def stream(self, method: str, path: str, **more: Any) -> "AsyncIterator[httpx.Response]":
        """An answer whose body is read as it comes."""
        import httpx

        try:
            async with self._http.stream(method, path, **more) as response:
                if response.is_error:
                    await response.aread()
                _check(response)
                yield response
        except httpx.TransportError as error:
            raise self._gone(error) from error

    def _gone(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"The server at {self.address} does not answer ({type(error).__name__}).",
            code="server.gone",
            hint="look at its log; `inglenook serve` starts it again, and a job that was queued goes on",
        )


def _check(response: "httpx.Response") -> None:
    if response.is_success:
        return
    raise error_of(response.status_code, response.content)


def error_of(status: int, body: bytes) -> InglenookError:
    """The error that an answer tells of, in the shape that the API sends."""
    kind = _KIND_OF_STATUS.get(status, errors.Failed)
    try:
        said = json.loads(body)["error"]
        message, code, hint = str(said["message"]), said.get("code"), said.get("hint")
        field = said.get("param")
        if said.get("details"):  # AI Studio's way: the message alone says only that something is wrong
            message = " ".join(str(it["msg"]) for it in said["details"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return kind(f"The server answered {status} without saying why.", code="server.answer")
    if hint is not None:  # the API repeats it in the message, for clients that show nothing else
        message = message.removesuffix(errors.in_one_line("", hint).removeprefix("."))
    return kind(message, code=code, hint=hint, field=field)


async def server_events(response: "httpx.Response") -> AsyncIterator[tuple[str, Any]]:
    """The (event, data) pairs of a `text/event-stream`, data as JSON, without comments and ``[DONE]``."""
    event, data = "message", []
    async for line in _lines(response.aiter_text()):
        name, _, value = line.partition(":")
        if name == "event":
            event = value.removeprefix(" ")
        elif name == "data":
            data.append(value.removeprefix(" "))
        elif line == "":
            text = "\n".join(data)
            if text not in ("", "[DONE]"):
                yield event, json.loads(text)
            event, data = "message", []


async def _lines(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    """Split at LF and CRLF alone: JSON may hold the other line ends that Python knows."""
    rest = ""
    async for text in texts:
        *whole, rest = (rest + text).split("\n")
        for line in whole:
            yield line.removesuffix("\r")
