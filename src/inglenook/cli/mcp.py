# SPDX-License-Identifier: Apache-2.0
"""`inglenook mcp`: the picture tools for programs that speak the Model Context Protocol over standard input.

Where a server runs on the data folder, every call is passed on to it; else the work is done in this process,
which then holds the data folder until its client ends it.
"""

import asyncio
import base64
import logging
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click

from inglenook.base.errors import Failed
from inglenook.base.ids import OWNER, PersonId
from inglenook.cli.options import load_settings, settings_options

if TYPE_CHECKING:
    from inglenook.api.mcp.protocol import Caller
    from inglenook.api.mcp.tools import Answer, Tell
    from inglenook.settings import Loaded


@click.command()
@settings_options
def mcp(**options: Any) -> None:
    """Serve the picture tools to an MCP client.

    It speaks over standard input and output. For the client's configuration: command `inglenook`,
    arguments `mcp`.
    """
    loaded = load_settings(**options)
    # Standard output belongs to the protocol.
    logging.basicConfig(
        level=loaded.settings.server.log_level.upper(),
        stream=sys.stderr,
        format="%(levelname)s %(name)s: %(message)s",
    )
    asyncio.run(_serve(loaded))


async def _serve(loaded: "Loaded") -> None:
    from mcp.server.stdio import stdio_server

    from inglenook.api.mcp.protocol import mcp_server

    async with _caller(loaded) as call:
        server = mcp_server(call, _owner)
        async with stdio_server() as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())


async def _owner(_: object) -> PersonId:
    return OWNER


@asynccontextmanager
async def _caller(loaded: "Loaded") -> AsyncIterator["Caller"]:
    """What carries out the calls: the server that runs, or a workshop of our own."""
    from inglenook.cli.client import find_server

    address = find_server(loaded.settings.server.data)
    if address is not None:
        from mcp.client import Client

        async with Client(f"{address}/mcp") as client:
            yield _Forwarded(client)
        return
    from inglenook.api.mcp.tools import Tools
    from inglenook.app import open_workshop

    async with open_workshop(loaded) as workshop:
        tools = Tools(
            images=workshop.images, jobs=workshop.jobs, gallery=workshop.gallery, catalog=workshop.catalog
        )
        yield tools.call


class _Forwarded:
    """Passes each call on to the server's own `/mcp`, and its progress back."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def __call__(
        self, name: str, arguments: Mapping[str, Any], *, person: PersonId, tell: "Tell"
    ) -> "Answer":
        from inglenook.api.mcp.tools import Answer, Shown

        del person  # the server finds out by itself who is calling

        async def progress(fraction: float, _total: float | None, text: str | None) -> None:
            await tell(fraction, text or "")

        result = await self._client.call_tool(name, dict(arguments), progress_callback=progress)
        if result.is_error:
            raise Failed(" ".join(block.text for block in result.content if block.type == "text"))
        pictures = [
            Shown(base64.b64decode(block.data), block.mime_type)
            for block in result.content
            if block.type == "image"
        ]
        return Answer(result.structured_content, pictures)
