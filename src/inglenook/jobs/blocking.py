# SPDX-License-Identifier: Apache-2.0
"""Threads for the records of jobs alone, so that no other blocking work stands in front of a state change."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from inglenook.base.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")


class Blocking:
    """Calls blocking functions from the event loop."""

    def __init__(self, *, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="jobs")
        self._closed = False

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Raises Unavailable (`job.stopping`) after `close`."""
        if self._closed:
            raise Unavailable("The server is stopping.", code="job.stopping", hint="try again when it is up")
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, partial(function, *args, **kwargs)
        )

    def close(self) -> None:
        """Return when what was begun has ended."""
        self._closed = True
        self._pool.shutdown(wait=True)
