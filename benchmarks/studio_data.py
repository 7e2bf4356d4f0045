# SPDX-License-Identifier: Apache-2.0
"""Many small pictures in the studio: bringing them in, and looking at them afterwards.

`python -m benchmarks.studio_data` prints one JSON object. An import is a real job with its child; the rest
are calls of the services that the API makes, medians in milliseconds by the wall. `STUDIO_PICTURES` (counts
with commas between them) measures other sizes than those of the page.
"""

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from inglenook.base.clock import SystemClock
from inglenook.base.ids import OWNER
from inglenook.base.work import WorkClass
from inglenook.jobs.limits import JobLimits
from inglenook.jobs.model import JobState
from inglenook.jobs.records import JobRecords
from inglenook.jobs.service import JobsService
from inglenook.settings import Settings
from inglenook.store import schema
from inglenook.store.database import Database, sqlite_url
from inglenook.store.lock import this_process
from inglenook.studio.datasets.model import ImageQuery
from inglenook.studio.imports.model import KIND
from inglenook.studio.imports.service import How, payload
from inglenook.studio.opening import open_studio
from inglenook.studio.studio import Studio

SIZES = (5_000, 20_000)
"""At the first the original's figure is known."""
ORIGINAL_THUMBNAIL_MS = 370
"""What AI Studio took for one thumbnail of a data set of 5,000 pictures."""
CLASSES = 20
SIDE_PX = 32
LARGE_PX = 400
"""Pictures below the size of a thumbnail get none; some larger ones are there to measure it."""
LARGE = 20
PAGE = 50
RUNS = 15


def main() -> None:
    asked = os.environ.get("STUDIO_PICTURES")
    sizes = SIZES if asked is None else tuple(int(count) for count in asked.split(","))
    print(json.dumps({"original_thumbnail_ms": ORIGINAL_THUMBNAIL_MS, "sets": measure(sizes)}, indent=1))


def measure(sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    return [_measured(count) for count in sizes]


def _measured(count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "spool").mkdir()
        clock = SystemClock()
        settings = Settings.model_validate({"server": {"data": root}})
        database = Database(sqlite_url(root / "jobs.db"))
        schema.upgrade(database)
        try:
            with open_studio(settings, clock=clock, holder=this_process("", clock.now())) as studio:
                source = settings.import_roots[0] / "pictures"
                _pictures(source, count)
                project = studio.projects.create(OWNER, "Many", "classification").id
                began = time.perf_counter()
                asyncio.run(_import(studio, database, project, source))
                imported_s = time.perf_counter() - began
                return {"pictures": count, "import_s": round(imported_s, 1), "ms": _times(studio, project)}
        finally:
            database.close()


def _pictures(folder: Path, count: int) -> None:
    """Noise, a folder each class; the last ones are larger."""
    rng = np.random.default_rng(11)
    for number in range(count):
        file = folder / f"class{number % CLASSES:02}" / f"{number:06}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 255, (SIDE_PX, SIDE_PX, 3), np.uint8))
        picture = coarse.resize((LARGE_PX, LARGE_PX)) if number >= count - LARGE else coarse
        picture.save(file)


async def _import(studio: Studio, database: Database, project: str, source: Path) -> None:
    records = JobRecords(database=database)
    studio.imports.open(lambda _upload: False)
    jobs = JobsService(records=records, works=studio.works, clock=SystemClock(), limits=JobLimits())
    await jobs.start()
    try:
        order = studio.imports.from_folder(OWNER, project, str(source), How(keep_duplicates=True))
        job = await jobs.submit(
            kind=KIND, owner=OWNER, work_class=WorkClass.INTERACTIVE, title="import", payload=payload(order)
        )
        ended = await jobs.wait(job.id)
        assert ended.state is JobState.SUCCEEDED, ended.error
    finally:
        await jobs.stop(20)


def _times(studio: Studio, project: str) -> dict[str, float]:
    datasets = studio.datasets
    began = time.perf_counter()
    first = datasets.images(project, limit=PAGE)
    cold = (time.perf_counter() - began) * 1000
    query = ImageQuery(labels=("class07",))
    last = datasets.count(project) // PAGE
    large = [record for record in datasets.iterate(project) if record.width == LARGE_PX]
    names = iter(large)

    def thumbnail(record: Any) -> None:
        found = datasets.get(project, record.filename)
        assert datasets.thumbnail(project, found, side_px=128).result().stat().st_size > 0

    def relabel() -> None:
        datasets.relabel(project, [first.images[0].id], "class01", by=OWNER)
        datasets.relabel(project, [first.images[0].id], "class00", by=OWNER)

    return {
        "first page after the import": round(cold, 1),
        "first page": _median(lambda: datasets.images(project, limit=PAGE)),
        "last page, by its number": _median(lambda: datasets.page(project, page=last, page_size=PAGE)),
        "first page of a class": _median(lambda: datasets.images(project, query, limit=PAGE)),
        "counts of classes": _median(lambda: datasets.class_counts(project)),
        "thumbnail, made": _median(lambda: thumbnail(next(names))),
        "thumbnail, there": _median(lambda: thumbnail(large[0])),
        "relabel one picture": round(_median(relabel) / 2, 1),
    }


def _median(call: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(times), 1)


if __name__ == "__main__":
    main()
