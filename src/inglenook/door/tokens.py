# SPDX-License-Identifier: Apache-2.0
"""Signed tokens that say "this is the administrator, until then": JSON Web Tokens, HMAC-SHA256 and no other.

The header is ours or the token is refused, so that no token chooses how it is checked (`alg: none`).
"""

import base64
import binascii
import hashlib
import hmac
import json
import math
import secrets
from typing import Any, Final

_HEADER: Final = {"alg": "HS256", "typ": "JWT"}
_MAX_CHARS: Final = 4096
KIND: Final = "admin"


class Tokens:
    """Args:
    secret: this installation's.
    password: tokens end when it is changed.
    """

    def __init__(self, *, secret: bytes, password: str) -> None:
        self._key = hmac.digest(secret, b"administrator\0" + password.encode(), hashlib.sha256)

    def issue(self, *, now_s: float, lifetime_s: float) -> str:
        """Args: now_s: seconds since 1970."""
        claims = {
            "type": KIND,
            "iat": math.floor(now_s),
            "exp": math.floor(now_s + lifetime_s),
            "jti": secrets.token_urlsafe(12),
        }
        signed = f"{_part(_HEADER)}.{_part(claims)}"
        return f"{signed}.{_text(self._signature(signed))}"

    def is_valid(self, token: str, *, now_s: float) -> bool:
        if len(token) > _MAX_CHARS or token.count(".") != 2 or not token.isascii():
            return False
        signed, _, signature = token.rpartition(".")
        given = _bytes(signature)
        if given is None or not hmac.compare_digest(self._signature(signed), given):
            return False
        header, claims = (_object(part) for part in signed.split("."))
        if header != _HEADER or claims is None:
            return False
        expires = claims.get("exp")
        return (
            claims.get("type") == KIND
            and isinstance(expires, int)
            and not isinstance(expires, bool)
            and now_s < expires
        )

    def _signature(self, signed: str) -> bytes:
        return hmac.digest(self._key, signed.encode(), hashlib.sha256)


def _part(value: dict[str, Any]) -> str:
    return _text(json.dumps(value, separators=(",", ":")).encode())


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes | None:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if _text(data) == text else None  # one spelling, not several


def _object(part: str) -> dict[str, Any] | None:
    data = _bytes(part)
    try:
        value = None if data is None else json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
