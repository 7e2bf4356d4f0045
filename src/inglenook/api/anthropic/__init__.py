# SPDX-License-Identifier: Apache-2.0
"""Anthropic's dialect: /v1/messages and its count of tokens. Its key and version headers are taken.

messages.py  the routes
turning.py   messages as a chat, and a chat's answer as a message, where tools need it
manner.py    errors and streams in its shape
"""

from inglenook.api.anthropic.manner import render_anthropic
from inglenook.api.anthropic.messages import messages_router

__all__ = ["messages_router", "render_anthropic"]
