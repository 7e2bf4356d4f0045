# SPDX-License-Identifier: Apache-2.0
"""A server that says what a test has it say, over the harness's socket, in the words of `/pixel/ws`."""

import json
from typing import Any

from tests.clients.aseprite.host import Action, Aseprite

READY: dict[str, Any] = {
    "type": "ready",
    "version": "0.6.0",
    "models": [
        {"name": "starter-339", "family": "sd1", "engines": ["torch"], "base_size": [64, 64]},
        {"name": "pixel-xl", "family": "sdxl", "engines": ["torch", "mlx"], "base_size": [1024, 1024]},
    ],
    "loras": [{"name": "pixel-art-xl", "families": ["sdxl"]}, {"name": "old-games", "families": ["sd1"]}],
    "engines": [
        {
            "name": "torch",
            "available": True,
            "can": ["text", "image", "inpaint", "lora", "preview", "negative_prompt"],
        },
        {"name": "mlx", "available": True, "can": ["text", "image", "inpaint", "preview", "negative_prompt"]},
        {
            "name": "sdcpp",
            "available": False,
            "why_not": "The package cyllama is not installed.",
            "hint": "install it",
        },
    ],
    "palettes": [{"name": "two", "title": "Two", "colors": ["#000000", "#ffffff"]}],
    "presets": [
        {"name": "item", "title": "Magic item", "prompt": "a flask of potion, glowing", "plain": "a potion"}
    ],
    "styles": [{"name": "8-bit", "title": "8-bit console"}],
    "sizes": [[32, 32], [64, 64], [64, 96]],
    "base_sizes": [[512, 512], [1024, 1024]],
}


class Server:
    """The other end of one socket of the extension."""

    def __init__(self, aseprite: Aseprite, socket: int = 1) -> None:
        self.aseprite = aseprite
        self.socket = socket

    def say(self, **message: Any) -> None:
        self.aseprite.hear("text", json.dumps(message).encode(), self.socket)

    def send(self, data: bytes) -> None:
        self.aseprite.hear("binary", data, self.socket)

    def welcome(self, **other: Any) -> None:
        self.aseprite.hear("open", socket=self.socket)
        self.say(**(READY | other))

    def asked(self) -> tuple[dict[str, Any], dict[str, tuple[dict[str, Any], bytes]]]:
        """The `generate` that came, and uploads by name: what was announced, and the bytes."""
        uploads: dict[str, tuple[dict[str, Any], bytes]] = {}
        announced: dict[str, Any] | None = None
        generate: dict[str, Any] | None = None
        for action in self.mine():
            if action.what == "binary":
                assert announced is not None
                uploads[announced["name"]] = (announced, action.data)
            elif action.what == "text" and action.message["type"] == "upload":
                announced = action.message
            elif action.what == "text" and action.message["type"] == "generate":
                generate = action.message
        assert generate is not None, "nothing was asked for"
        return generate, uploads

    def mine(self) -> list[Action]:
        taken = self.aseprite.taken()
        self.aseprite.actions = [action for action in taken if action.socket != self.socket]
        return [action for action in taken if action.socket == self.socket]

    def frame(
        self,
        work: str,
        data: bytes,
        width: int,
        height: int,
        *,
        index: int = 0,
        count: int = 1,
        duration_ms: int = 100,
    ) -> None:
        self.say(
            type="frame", id=work, index=index, count=count, width=width, height=height, bytes=len(data),
            duration_ms=duration_ms,
        )  # fmt: skip
        self.send(data)

    def done(self, work: str, **told: Any) -> None:
        usual = {"seed": 7, "engine": "torch", "model": "starter-339", "seconds": 1.5, "palette": []}
        usual |= {"tags": [], "proof": {}, "notes": []}
        self.say(**(usual | told | {"type": "done", "id": work}))
