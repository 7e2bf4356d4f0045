# SPDX-License-Identifier: Apache-2.0
"""The tools as an MCP server, by the protocol's own library. It is imported when the first client comes."""

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from mcp.server.lowlevel import Server
from mcp.server.session import ServerSession
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    ImageContent,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)

from inglenook import __version__
from inglenook.api.mcp.schemas import TOOLS, ToolText
from inglenook.api.mcp.tools import Answer, Tell
from inglenook.base.errors import InglenookError
from inglenook.base.ids import PersonId

INSTRUCTIONS = (
    "Draws and edits pictures on this machine. Look at list_models first. Drawing can take from seconds to "
    "minutes: when a tool answers with a job that is not finished, ask again with watch_job."
)


class Caller(Protocol):
    """`Tools.call`, or something that passes the call on."""

    async def __call__(
        self, name: str, arguments: Mapping[str, Any], *, person: PersonId, tell: Tell
    ) -> Answer: ...


def mcp_server(call: Caller, person_of: Callable[[Any], Awaitable[PersonId]]) -> Server[Any]:
    """Args:
    person_of: who stands behind the transport's request (None over standard input and output).
    """

    async def list_tools(_: Any, __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[_tool(text) for text in TOOLS])

    async def call_tool(context: Any, params: CallToolRequestParams) -> CallToolResult:
        try:
            person = await person_of(context.request)
            answer = await call(
                params.name, params.arguments or {}, person=person, tell=_telling(context.session)
            )
        except InglenookError as error:
            return CallToolResult(content=[TextContent(text=str(error))], is_error=True)
        return _result(answer)

    return Server(
        "inglenook",
        version=__version__,
        title="Inglenook",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _tool(text: ToolText) -> Tool:
    return Tool(
        name=text.name,
        title=text.title,
        description=text.description,
        input_schema=text.input_schema,
        annotations=ToolAnnotations(
            read_only_hint=text.reads, destructive_hint=text.destroys, open_world_hint=False
        ),
    )


def _telling(session: ServerSession) -> Tell:
    """Progress must rise with each report; where the job has only news, a hair is added."""
    last = -1e-6

    async def tell(fraction: float, text: str) -> None:
        nonlocal last
        last = max(fraction, last + 1e-6)
        await session.report_progress(last, 1.0, text)

    return tell


def _result(answer: Answer) -> CallToolResult:
    facts = dict(answer.facts)
    content: list[ContentBlock] = [TextContent(text=json.dumps(facts, ensure_ascii=False))]
    content += [
        ImageContent(data=base64.b64encode(picture.data).decode("ascii"), mime_type=picture.media_type)
        for picture in answer.pictures
    ]
    return CallToolResult(content=content, structured_content=facts)
