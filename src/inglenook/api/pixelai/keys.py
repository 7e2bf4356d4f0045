# SPDX-License-Identifier: Apache-2.0
"""The key that a client shows. What draws needs none as long as there are no accounts, as at every
other door; one that is shown must be right, so that nobody believes to be let in by a wrong one."""

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from inglenook.door.administrator import NotLoggedIn, administration_of, bearer
from inglenook.door.caller import Caller, caller

MAX_KEY_CHARS: Final = 4096
_HOW: Final = "show the administrator's password, or a token of POST /admin/login"


async def shown_key(connection: HTTPConnection) -> None:
    """The dependency of every HTTP route of the dialect.

    Raises:
        NotLoggedIn: the server has a password, and the token that is shown is not one of its own.
    """
    if connection.scope["type"] == "websocket":
        return  # its key comes with its first message
    token = bearer(connection)
    administration = administration_of(connection)
    if token is None or administration is None or not administration.has_password:
        return
    if not administration.knows_token(token):
        raise NotLoggedIn("Invalid or expired key.", hint=_HOW)


async def caller_with(socket: WebSocket, key: str | None) -> Caller:
    """Who is calling, by the key of a socket's first message.

    Raises:
        NotLoggedIn: the server has a password, and this is neither that nor one of its tokens.
        Busy: too many wrong ones lately.
    """
    if key is None:
        return await caller(socket)
    administration = administration_of(socket)
    token = key
    if administration is not None and administration.has_password and not administration.knows_token(key):
        try:
            token = administration.log_in(key)
        except NotLoggedIn:
            raise NotLoggedIn("The key is not right.", hint=_HOW) from None
    return await caller(_showing(socket, token))


def _showing(socket: WebSocket, token: str) -> HTTPConnection:
    """The connection as if the key had come in its header, where everybody who asks for it looks."""
    headers = MutableHeaders(raw=list(socket.scope["headers"]))
    headers["authorization"] = f"Bearer {token}"
    return HTTPConnection({**socket.scope, "headers": headers.raw})
