# SPDX-License-Identifier: Apache-2.0
"""Language models without a process: what they answer is what the test says."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from inglenook.engines.llamacpp.child import Reply
from inglenook.engines.llamacpp.engine import NAME
from inglenook.runtime.contracts import ChildFailed, Failure
from inglenook.testing.engines import FakeChild, FakeEngine

DIED: Final = Failure("child.killed", "It was ended by signal 11 (SIGSEGV).")


@dataclass(frozen=True, slots=True)
class Script:
    """One answer: its parts, and whether the process dies instead of going on after the last of them."""

    parts: tuple[bytes, ...] = (b"hello", b" there")
    dies: bool = False
    before_reply: bool = False
    """It dies before even the status is there."""


class FakeLanguageChild(FakeChild):
    """A `FakeChild` that can be asked. `asked`: every request's method, path and body."""

    asked: list[tuple[str, str, bytes]]
    scripts: list[Script]

    @asynccontextmanager
    async def request(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Reply]:
        self.asked.append((method, path, body))
        script = self.scripts.pop(0) if self.scripts else Script()
        if script.before_reply:
            raise self._died()
        yield Reply(200, {"content-type": "text/event-stream", **(headers or {})}, self._content(script))

    async def _content(self, script: Script) -> AsyncIterator[bytes]:
        for part in script.parts:
            yield part
        if script.dies:
            raise self._died()

    def _died(self) -> ChildFailed:
        self.crash(DIED)
        return ChildFailed(DIED)


class FakeLanguageEngine(FakeEngine):
    """An engine of the name of the real one. `scripts`: what its children answer, in this order, whichever it
    is; when there are no more: `Script()`."""

    def __init__(self, *, auto: bool = False) -> None:
        super().__init__(name=NAME, auto=auto, child=FakeLanguageChild)
        self.scripts: list[Script] = []
        self.asked: list[tuple[str, str, bytes]] = []

    def prepare(self, child: FakeChild) -> None:
        assert isinstance(child, FakeLanguageChild)
        child.asked, child.scripts = self.asked, self.scripts
