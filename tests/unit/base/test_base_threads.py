# SPDX-License-Identifier: Apache-2.0
"""Blocking work that is cleaned up after by whoever asked for it."""

import asyncio
import threading

import pytest

from inglenook.base.threads import to_its_end


def test_a_caller_that_is_called_off_goes_on_only_when_the_thread_is_done() -> None:
    began, go, done = threading.Event(), threading.Event(), threading.Event()

    def write() -> None:
        began.set()
        assert go.wait(60)
        done.set()

    async def main() -> None:
        working = asyncio.create_task(to_its_end(write))
        await asyncio.to_thread(began.wait, 60)
        working.cancel()
        await asyncio.sleep(0)
        assert not working.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await working
        assert done.is_set()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_what_it_returns_or_raises_is_passed_on() -> None:
    async def main() -> None:
        assert await to_its_end(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await to_its_end(divmod, 7, 0)

    asyncio.run(main())
