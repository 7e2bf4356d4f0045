# SPDX-License-Identifier: Apache-2.0
"""The child's stream, read: one JSON object an event."""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from inglenook.api.refusals import refusal
from inglenook.api.relay import Held, whole_events

_DATA: Final = b"data:"
_ERROR: Final = b"error:"
_DONE: Final = b"[DONE]"
_FAILED: Final = 500


async def events(held: Held, path: str, body: bytes) -> AsyncIterator[dict[str, Any]]:
    """What the child answers to a request that streams, until it is done.

    Raises:
        InglenookError: as `Held.request`; also when the child reports an error in mid-stream.
    """
    async with held.request(path, body) as reply:
        async for part in whole_events(reply.content, b"\n\n"):
            for line in part.split(b"\n"):
                if line.startswith(_ERROR):
                    raise refusal(held.model, _FAILED, b'{"error":' + line.removeprefix(_ERROR) + b"}")
                if line.startswith(_DATA):
                    data = line.removeprefix(_DATA).strip()
                    if data == _DONE:
                        continue  # to the very end of the answer: there its cost is counted
                    event = msgspec.json.decode(data)
                    if event.get("error"):
                        raise refusal(held.model, int(event["error"].get("code") or _FAILED), data)
                    yield event
