# SPDX-License-Identifier: Apache-2.0
"""A gallery of 100,000 records: how long a page takes, wherever it lies and whatever it is filtered by.

`python -m benchmarks.gallery` prints one JSON object. Times are medians in milliseconds over `RUNS` calls of
the service, records turned into values and all, on SQLite; and on PostgreSQL where it is installed.
"""

import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from inglenook.base.ids import OWNER, BlobId, ModelId, PictureId, new_id
from inglenook.gallery.model import Filter, Picture, Shape
from inglenook.gallery.records import PictureRecords
from inglenook.gallery.service import GalleryService
from inglenook.store import schema
from inglenook.store.database import Database, sqlite_url
from inglenook.testing import parts
from inglenook.testing.blobs import MemoryBlobs
from inglenook.testing.clock import FakeClock
from inglenook.testing.postgres import ThrowAwayPostgres, can_run

PICTURES = 100_000
AT_ONCE = 2_000
RUNS = 15
PAGE = 48
_START = datetime(2026, 1, 1, tzinfo=UTC)
_SIZES = ((512, 512), (768, 512), (512, 768), (1024, 1024))


def main() -> None:
    print(json.dumps(measure(), indent=1))


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        found = {"pictures": PICTURES, "sqlite": _measured(sqlite_url(Path(folder) / "gallery.db"))}
    binaries = parts.postgres_bin()
    if binaries is not None and can_run():
        with ThrowAwayPostgres(binaries) as server, server.database() as url:
            found["postgresql"] = _measured(url)
    return found


def _measured(url: str) -> dict[str, Any]:
    database = Database(url)
    try:
        schema.upgrade(database)
        records = PictureRecords(database=database)
        began = time.perf_counter()
        pictures = _fill(records)
        filled_s = time.perf_counter() - began
        gallery = GalleryService(
            records=records, blobs=MemoryBlobs(), clock=FakeClock(), in_use=lambda _blob: False
        )
        return {"filled_s": round(filled_s, 1), "ms": _times(gallery, pictures)}
    finally:
        database.close()


def _fill(records: PictureRecords) -> Sequence[Picture]:
    random_words = random.Random(7)
    vocabulary = [f"word{number}" for number in range(5000)]
    pictures: list[Picture] = []
    for number in range(PICTURES):
        pictures.append(_picture(number, random_words, vocabulary))
        if len(pictures) % AT_ONCE == 0:
            records.insert_many(pictures[-AT_ONCE:])
    marked = [picture.id for picture in pictures[::50]]
    for start in range(0, len(marked), 500):
        records.set(OWNER, marked[start : start + 500], favourite=True)
        records.retag(OWNER, marked[start : start + 500], lambda _: ("kept",))
    return pictures


def _picture(number: int, chance: random.Random, vocabulary: Sequence[str]) -> Picture:
    when = _START + timedelta(minutes=5 * number)
    width, height = _SIZES[number % len(_SIZES)]
    prompt = f"a picture of {' '.join(chance.choices(vocabulary, k=20))}"
    known = {"prompt": prompt, "negative_prompt": "blurry", "mode": "text", "steps": 25, "scheduler": "euler"}
    return Picture(
        id=PictureId(new_id("pic", when)),
        owner=OWNER,
        job=None,
        blob=BlobId(f"{number:064x}"),
        media_type="image/png",
        width=width,
        height=height,
        size_bytes=500_000,
        model=ModelId(f"model-{number % 10}"),
        prompt=prompt,
        seed=number,
        parameters={**known, "loras": [{"model": "style", "weight": 1.0}] if number % 1000 == 0 else []},
        created_at=when,
    )


def _times(gallery: GalleryService, pictures: Sequence[Picture]) -> dict[str, float]:
    deep, middle = pictures[100].id, pictures[PICTURES // 2]
    since = middle.created_at

    def page(before: PictureId | None = None, **wanted: Any) -> Callable[[], object]:
        return lambda: gallery.list(OWNER, limit=PAGE, before=before, filter=Filter(**wanted))

    calls: dict[str, Callable[[], object]] = {
        "first page": page(),
        "page 2,000": page(deep),
        "search, a word of every picture": page(search="picture"),
        "search, a word of 400 pictures": page(search="word77 "),
        "search, the beginning of a word": page(search="picture word7"),
        "search, no such word": page(search="nothing"),
        "one model of ten": page(model=ModelId("model-3")),
        "favourites": page(favourite=True),
        "a tag": page(tags=("kept",)),
        "with LoRA, one in a thousand": page(has_lora=True),
        "one month, a year ago": page(since=since, until=since + timedelta(days=30)),
        "portraits, deep": page(deep, shape=Shape.PORTRAIT),
        "all filters at once": page(
            search="picture", favourite=True, tags=("kept",), shape=Shape.SQUARE, mode="text"
        ),
        "tags with counts": lambda: gallery.tags(OWNER),
        "models with counts": lambda: gallery.models(OWNER),
        "how many": lambda: gallery.count(OWNER),
    }
    return {name: _median_ms(call) for name, call in calls.items()}


def _median_ms(call: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(times), 2)


if __name__ == "__main__":
    main()
