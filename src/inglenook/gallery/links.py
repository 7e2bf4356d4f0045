# SPDX-License-Identifier: Apache-2.0
"""Signed addresses of pictures: whoever has one may see that one picture, without showing who they are.

    pic_01jd….<signature>.png              works as long as the picture is kept
    pic_01jd….<expiry>.<signature>.png     until then, in seconds since 1970

The signature is an HMAC over the picture and the expiry. The ending is for people and programs that look at
names; it is not signed, and what is sent is typed by the stored file. Pure but for the clock.
"""

import base64
import hashlib
import hmac

from inglenook.base.clock import Clock
from inglenook.base.errors import NotFound
from inglenook.base.ids import PictureId

_PURPOSE = b"inglenook picture link 1\0"
_SIGNATURE_BYTES = 16
_SUFFIX = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif"}
MAX_CHARS = 200


class PictureLinks:
    """Args:
    secret: at least 32 random bytes.
    lifetime_s: how long a new address works; None for as long as the picture is kept.
    """

    def __init__(self, *, secret: bytes, lifetime_s: float | None, clock: Clock) -> None:
        if len(secret) < 32:
            raise ValueError("a secret of at least 32 bytes is needed")
        self._secret = secret
        self._lifetime_s = lifetime_s
        self._clock = clock

    def name(self, picture: PictureId, media_type: str) -> str:
        """The last part of an address, made of letters, digits, `_`, `-` and dots."""
        ending = _SUFFIX.get(media_type, "bin")
        if self._lifetime_s is None:
            return f"{picture}.{self._sign(picture, '')}.{ending}"
        expiry = str(int(self._clock.now().timestamp() + self._lifetime_s))
        return f"{picture}.{expiry}.{self._sign(picture, expiry)}.{ending}"

    def picture(self, name: str) -> PictureId:
        """The picture that an address leads to.

        Raises:
            NotFound: it is not one of ours, was changed, or has expired; which of these is not told.
        """
        parts = name.split(".") if len(name) <= MAX_CHARS and name.isascii() else []
        if len(parts) == 3:
            picture, expiry, signature = parts[0], "", parts[1]
        elif len(parts) == 4:
            picture, expiry, signature = parts[:3]
        else:
            raise _not_found()
        sound = hmac.compare_digest(signature, self._sign(picture, expiry))
        if not sound or (expiry and not self._is_to_come(expiry)):
            raise _not_found()
        return PictureId(picture)

    def _is_to_come(self, expiry: str) -> bool:
        return expiry.isdigit() and self._clock.now().timestamp() < int(expiry)

    def _sign(self, picture: str, expiry: str) -> str:
        message = _PURPOSE + picture.encode() + b"\0" + expiry.encode()
        digest = hmac.digest(self._secret, message, hashlib.sha256)[:_SIGNATURE_BYTES]
        return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def _not_found() -> NotFound:
    return NotFound(
        "There is no picture at this address, or no longer.",
        code="picture.not_found",
        hint="an address is complete with its signature, and may end after a time",
    )
