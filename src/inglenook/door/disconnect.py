# SPDX-License-Identifier: Apache-2.0
"""The client that goes away while we work for it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from inglenook.base.errors import Cancelled

T = TypeVar("T")


class ClientGone(Cancelled):
    """Nobody is there to read the answer."""

    default_code = "client.gone"

    def __init__(self) -> None:
        super().__init__("The client has closed the connection.")


async def hung_up(receive: Receive) -> None:
    """Return when the client has closed the connection. Call it after the body has been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_connected(
    receive: Receive, work: Coroutine[Any, Any, T], *, on_gone: Callable[[], Awaitable[object]]
) -> T:
    """Run `work` and return what it returns, as long as the client is there.

    When the client goes first, `on_gone` is awaited, `work` is cancelled and `ClientGone` is raised.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(hung_up(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return await working
        await on_gone()
        raise ClientGone
    finally:
        await drop(working, watching)


async def drop(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks and wait until they have ended; what they raise is of no interest any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
