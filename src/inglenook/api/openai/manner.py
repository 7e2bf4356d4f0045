# SPDX-License-Identifier: Apache-2.0
"""How OpenAI's dialect writes a stream: server-sent events, each `data:` one JSON object."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from inglenook.api.errors import as_error
from inglenook.door.problem import Problem

DONE: Final = b"data: [DONE]\n\n"


def event(data: Mapping[str, Any], name: str | None = None) -> bytes:
    """One event."""
    head = b"" if name is None else f"event: {name}\n".encode()
    return head + b"data: " + msgspec.json.encode(data) + b"\n\n"


class ChatManner:
    """Of chats and completions. Implements `api.relay.Manner`."""

    media_type = "text/event-stream"
    end = b"\n\n"

    def waiting(self, words: str) -> bytes | None:
        return f": {words}\n\n".encode()

    def failed(self, problem: Problem) -> bytes:
        return event({"error": as_error(problem)})


class ResponsesManner(ChatManner):
    """Of /v1/responses, whose events have names."""

    def failed(self, problem: Problem) -> bytes:
        error = as_error(problem)
        told = {"type": "error", "code": error["code"], "message": error["message"], "param": error["param"]}
        return event({**told, "error": error}, "error")
