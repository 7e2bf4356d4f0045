# SPDX-License-Identifier: Apache-2.0
"""What the pages weigh: everything that a browser fetches before it has shown one for the first time.

`python -m benchmarks.page` prints one JSON object. A real server with the model that ships and an empty
gallery; each page is read over HTTP, then what it names: sheets, scripts, icons and pictures, what sheets and
scripts name in turn, and what HTMX fetches on load. `bytes` as they are, `gzip_bytes` as a proxy that
compresses would send them, `sent_bytes` as this server sends them to a browser that accepts gzip.
"""

import gzip
import json
import re
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin

import httpx

from inglenook.testing.server import RunningServer

PAGES = ("/", "/gallery", "/activity")
BUDGET_BYTES = 200_000
_IN_SHEETS = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s;]+)""")
_IN_SCRIPTS = re.compile(r"""^\s*(?:import|export)\b[^"';]*["']([^"']+)["']""", re.MULTILINE)


def main() -> None:
    print(json.dumps(measure(), indent=1))


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, RunningServer.start(Path(folder)) as server:
        found = {page: _weighed(f"{server.base_url}{page}") for page in PAGES}
    return {"budget_bytes": BUDGET_BYTES, "pages": found}


def _weighed(address: str) -> dict[str, Any]:
    """One page as a browser that was never here fetches it."""
    waiting = [address]
    fetched: dict[str, httpx.Response] = {}
    foreign: set[str] = set()
    headers = {"Accept-Encoding": "gzip"}
    with httpx.Client(trust_env=False, timeout=60, follow_redirects=True, headers=headers) as client:
        while waiting:
            place = urldefrag(waiting.pop()).url
            if httpx.URL(place).netloc != httpx.URL(address).netloc:
                foreign.add(place)
            elif place not in fetched:
                answer = client.get(place)
                answer.raise_for_status()
                fetched[place] = answer
                waiting += [urljoin(place, name) for name in named_in(answer)]
    return {
        "requests": len(fetched),
        "foreign_requests": len(foreign),
        "bytes": sum(len(answer.content) for answer in fetched.values()),
        "gzip_bytes": sum(len(gzip.compress(answer.content, 6)) for answer in fetched.values()),
        "sent_bytes": sum(answer.num_bytes_downloaded for answer in fetched.values()),
        "kinds": _by_kind(fetched.values()),
    }


def _by_kind(answers: Any) -> dict[str, int]:
    """Bytes by media type, as they are."""
    kinds: dict[str, int] = {}
    for answer in answers:
        kind = _kind(answer)
        kinds[kind] = kinds.get(kind, 0) + len(answer.content)
    return kinds


def _kind(answer: httpx.Response) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip()


def named_in(answer: httpx.Response) -> Iterator[str]:
    """Addresses that a browser goes on to fetch by itself, as they are written."""
    match _kind(answer):
        case "text/html":
            reader = _Names()
            reader.feed(answer.text)
            found = reader.found
        case "text/css":
            found = _IN_SHEETS.findall(answer.text)
        case "text/javascript" | "application/javascript":
            found = _IN_SCRIPTS.findall(answer.text)
        case _:
            found = []
    return (name for name in found if name and not name.startswith(("data:", "#", "blob:")))


class _Names(HTMLParser):
    """Links are followed by people, these by the browser."""

    _FETCHED_LINKS = frozenset({"stylesheet", "icon", "preload", "modulepreload", "manifest"})

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        if tag == "link" and self._FETCHED_LINKS & set(told.get("rel", "").split()):
            self.found.append(told.get("href", ""))
        elif tag in ("script", "img", "source") and told.get("loading") != "lazy":
            self.found.append(told.get("src", ""))
        if "load" in re.split(r"[\s,]+", told.get("hx-trigger", "")):
            self.found.append(told.get("hx-get", ""))


if __name__ == "__main__":
    main()
