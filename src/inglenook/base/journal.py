# SPDX-License-Identifier: Apache-2.0
"""The last lines of the server's log, for whoever looks at it in the page. Secrets are blotted out.

Prompts do not get here, because no message of ours holds one.
"""

import asyncio
import logging
import re
import threading
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime

KEPT = 1000
MAX_LINE_CHARS = 4000
WORKERS = "inglenook.worker"
"""The logger of what the workers print; it reaches the journal and nothing else."""
CHILD = "child"
"""The attribute of a record that says which child has printed it."""
LEVELS = ("debug", "info", "warning", "error")

_SECRETS = re.compile(
    r"(?P<head>://[^\s/:@]*:)[^\s/@]+(?=@)"
    r"|(?P<query>[?&](?:token|key|api_key|apikey|access_token|signature|sig|password)=)[^\s&\"']+"
    r"|(?P<word>\b(?:authorization:\s*(?:bearer|basic)?|bearer|api[-_]key[:=]|token[:=]|password[:=])\s*)[^\s,\"']+"
    r"|\b(?:sk|sd|hf|ghp|civitai)[-_][A-Za-z0-9_-]{16,}",
    re.IGNORECASE,
)


_SIGNS = (
    *("://", "token=", "token:", "key=", "key:", "password=", "password:", "signature=", "sig=", "bearer"),
    *("authorization:", "sk-", "sk_", "sd-", "sd_", "hf-", "hf_", "ghp-", "ghp_", "civitai-", "civitai_"),
)
"""Without one of these there is no secret to be found: looking for them takes a twentieth of the expression's
time."""


def without_secrets(text: str) -> str:
    """`text` with what looks like a key, a token or a password as `…`."""
    folded = text.casefold()
    if not any(sign in folded for sign in _SIGNS):
        return text

    def blot(match: re.Match[str]) -> str:
        return f"{match['head'] or match['query'] or match['word'] or ''}…"

    return _SECRETS.sub(blot, text)


@dataclass(frozen=True, slots=True)
class Line:
    """One message. `number` rises by one with each; `level` is one of `LEVELS`; `child`: whose output it is,
    None for what the server itself says."""

    number: int
    when: datetime
    level: str
    source: str
    text: str
    child: str | None = None


class Journal(logging.Handler):
    """Keeps the last `KEPT` messages, from any thread, and tells those who follow."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: deque[Line] = deque(maxlen=KEPT)
        self._number = 0
        self._turn = threading.Lock()
        self._followers: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = without_secrets(record.getMessage())
        if record.exc_info and record.exc_info[0] is not None:
            text += f" ({record.exc_info[0].__name__})"  # what it said may hold anything; the file has it
        level = "error" if record.levelno >= logging.ERROR else record.levelname.lower()
        with self._turn:
            self._number += 1
            when = datetime.fromtimestamp(record.created, UTC)
            child = getattr(record, CHILD, None)
            line = Line(self._number, when, level, record.name, text[:MAX_LINE_CHARS], child)
            self._lines.append(line)
            followers = list(self._followers)
        for loop, news in followers:
            if not loop.is_closed():
                loop.call_soon_threadsafe(news.set)

    def lines(self, after: int = 0, *, level: str = "debug", child: str | None = None) -> list[Line]:
        """Those after this number, at least of that level, of that child (None: of all); the oldest first."""
        least = LEVELS.index(level)
        with self._turn:
            return [
                line
                for line in self._lines
                if line.number > after
                and LEVELS.index(line.level) >= least
                and (child is None or line.child == child)
            ]

    async def follow(
        self, after: int = 0, *, level: str = "debug", child: str | None = None
    ) -> AsyncGenerator[Line, None]:
        """`lines`, and then every new one as it comes."""
        news = asyncio.Event()
        me = (asyncio.get_running_loop(), news)
        with self._turn:
            self._followers.add(me)
        try:
            while True:
                news.clear()
                for line in self.lines(after, level=level, child=child):
                    after = line.number
                    yield line
                await news.wait()
        finally:
            with self._turn:
                self._followers.discard(me)
