# SPDX-License-Identifier: Apache-2.0
"""Who may change the machine's settings and models, as long as there are no accounts.

Without `server.admin_password` everybody whom `door.caller` lets in. With it, whoever shows a token from
`POST /admin/login` (`Authorization: Bearer`), or the cookie of a session that is kept here, in memory.
"""

import hashlib
import hmac
import secrets
from collections import deque
from typing import Final

from starlette.exceptions import WebSocketException
from starlette.requests import HTTPConnection
from starlette.responses import Response

from inglenook.base.clock import Clock
from inglenook.base.errors import Busy, Invalid, Unidentified
from inglenook.door.tokens import Tokens

COOKIE: Final = "inglenook_admin"
LIFETIME_S: Final = 24 * 3600
MAX_SESSIONS: Final = 256
ATTEMPTS: Final = 5
ATTEMPTS_WITHIN_S: Final = 60.0
_POLICY_VIOLATION: Final = 1008


class NotLoggedIn(Unidentified):
    default_code = "admin.not_logged_in"


class Administration:
    """The password, the tokens and the sessions of one server.

    Args:
        password: None lets everybody in.
        secret: this installation's, for the tokens.
    """

    def __init__(self, *, password: str | None, secret: bytes, clock: Clock) -> None:
        self._digest = None if password is None else _digest(password)
        self._tokens = None if password is None else Tokens(secret=secret, password=password)
        self._clock = clock
        self._failed_s: deque[float] = deque(maxlen=ATTEMPTS)
        self._sessions: dict[bytes, float] = {}  # digest of the cookie → when it ends

    @property
    def has_password(self) -> bool:
        return self._digest is not None

    def log_in(self, password: str) -> str:
        """A token for the right password.

        Raises:
            Invalid: there is no password (`admin.no_password`).
            Busy: too many wrong ones lately; also the right one has to wait.
            NotLoggedIn: it is the wrong one.
        """
        if self._digest is None or self._tokens is None:
            raise Invalid(
                "No administrator's password is set, so there is nothing to log in to.",
                code="admin.no_password",
                hint="everything is open on this machine; server.admin_password sets one",
            )
        now_s = self._clock.monotonic()
        self._require_patience(now_s)
        if not hmac.compare_digest(self._digest, _digest(password)):
            self._failed_s.append(now_s)
            raise NotLoggedIn("That is not the administrator's password.", code="admin.wrong_password")
        self._failed_s.clear()
        return self._tokens.issue(now_s=self._clock.now().timestamp(), lifetime_s=LIFETIME_S)

    def _require_patience(self, now_s: float) -> None:
        if len(self._failed_s) == ATTEMPTS and now_s - self._failed_s[0] < ATTEMPTS_WITHIN_S:
            wait_s = ATTEMPTS_WITHIN_S - (now_s - self._failed_s[0])
            raise Busy(
                f"{ATTEMPTS} wrong passwords within {ATTEMPTS_WITHIN_S:g} s: wait before the next try.",
                code="admin.too_many_attempts",
                retry_after_s=wait_s,
            )

    def knows_token(self, token: str) -> bool:
        return self._tokens is not None and self._tokens.is_valid(token, now_s=self._clock.now().timestamp())

    # -- sessions of browsers ------------------------------------------------------------------------

    def open_session(self) -> str:
        """What its cookie holds."""
        now_s = self._clock.monotonic()
        self._sessions = {one: end_s for one, end_s in self._sessions.items() if end_s > now_s}
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        value = secrets.token_urlsafe(32)
        self._sessions[_digest(value)] = now_s + LIFETIME_S
        return value

    def knows_session(self, value: str) -> bool:
        return self._sessions.get(_digest(value), 0.0) > self._clock.monotonic()

    def close_session(self, value: str) -> None:
        self._sessions.pop(_digest(value), None)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def keep_session(response: Response, value: str, *, secure: bool) -> None:
    response.set_cookie(
        COOKIE, value, max_age=LIFETIME_S, httponly=True, samesite="strict", secure=secure, path="/"
    )


def administration_of(connection: HTTPConnection) -> Administration | None:
    found = getattr(connection.app.state, "administration", None)
    assert found is None or isinstance(found, Administration)
    return found


def is_administrator(connection: HTTPConnection) -> bool:
    """Whether the caller may change things: by token, by session, or because there is no password."""
    administration = administration_of(connection)
    if administration is None or not administration.has_password:
        return True
    token = bearer(connection)
    if token is not None:
        return administration.knows_token(token)
    return administration.knows_session(connection.cookies.get(COOKIE, ""))


def bearer(connection: HTTPConnection) -> str | None:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


async def administrator(connection: HTTPConnection) -> None:
    """The dependency of every route that only the administrator may use. A socket is refused before it is
    accepted.

    Raises:
        NotLoggedIn: nothing that was shown is valid.
    """
    if is_administrator(connection):
        return
    if connection.scope["type"] == "websocket":
        raise WebSocketException(_POLICY_VIOLATION, "log in first: POST /admin/login")
    if bearer(connection) is not None:
        raise NotLoggedIn("Invalid or expired token.", hint="POST /admin/login gives a new one")
    raise NotLoggedIn("Authentication required.", hint="POST /admin/login with the administrator's password")
