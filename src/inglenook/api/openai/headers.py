# SPDX-License-Identifier: Apache-2.0
"""What the headers of a request ask for."""

from starlette.requests import Request

from inglenook.base.errors import Invalid
from inglenook.door.problem import shown

MAX_KEY_CHARS = 255


def idempotency_key(request: Request) -> str | None:
    """`Idempotency-Key`: the same request sent again with the same key is the same job.

    Raises:
        Invalid: it is empty, longer than `MAX_KEY_CHARS`, or holds more than visible ASCII.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not (0 < len(key) <= MAX_KEY_CHARS and all("!" <= char <= "~" for char in key)):
        raise Invalid(
            f"Idempotency-Key must be 1 to {MAX_KEY_CHARS} visible ASCII characters; got {shown(key)}.",
            field="Idempotency-Key",
        )
    return key


def wants_later(request: Request) -> bool:
    """Whether `Prefer: respond-async` asks for the job instead of the pictures (RFC 7240)."""
    preferences = ",".join(request.headers.getlist("prefer")).split(",")
    return any(each.partition(";")[0].strip().lower() == "respond-async" for each in preferences)
