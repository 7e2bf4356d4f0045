# SPDX-License-Identifier: Apache-2.0
"""How OpenAI's dialect writes a stream: server-sent events, each `data:` one JSON object."""

import msgspec

from inglenook.api.errors import as_error
from inglenook.door.problem import Problem


class ChatManner:
    """Of chats and completions. Implements `api.relay.Manner`."""

    media_type = "text/event-stream"
    end = b"\n\n"

    def waiting(self, words: str) -> bytes | None:
        return f": {words}\n\n".encode()

    def failed(self, problem: Problem) -> bytes:
        return b"data: " + msgspec.json.encode({"error": as_error(problem)}) + b"\n\n"


class ResponsesManner(ChatManner):
    """Of /v1/responses, whose events have names."""

    def failed(self, problem: Problem) -> bytes:
        error = as_error(problem)
        event = {"type": "error", "code": error["code"], "message": error["message"], "param": error["param"]}
        return b"event: error\ndata: " + msgspec.json.encode(event | {"error": error}) + b"\n\n"
