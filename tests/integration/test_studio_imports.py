# SPDX-License-Identifier: Apache-2.0
"""Imports and checks as jobs, with the real child, the real workspace and a real database."""

import asyncio
import errno
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from PIL import Image
from tests.dataset_trees import picture, scene
from tests.studio_imports import workbench
from tests.unit.workers.dataset.reading import put

from inglenook.base.errors import Denied, Invalid
from inglenook.base.ids import OWNER
from inglenook.base.units import MIB
from inglenook.base.work import WorkClass
from inglenook.jobs.model import JobState
from inglenook.store.database import Database
from inglenook.studio.checks.model import KIND as CHECK
from inglenook.studio.imports.service import How, SentFile
from inglenook.studio.imports.work import ImportWork
from inglenook.studio.splits.model import Options, Plan
from inglenook.vision.checks.kinds import finding
from inglenook.vision.checks.model import Item

pytestmark = pytest.mark.slow

PETS = {"cats/1.png": picture(1), "cats/2.png": picture(2), "dogs/1.png": picture(3)}


def many(count: int) -> dict[str, bytes]:
    """Pictures that differ in bytes after their end, which decoders pass over: quick to make."""
    base = picture(7, size=(64, 64))
    return {f"c{n % 2}/{n}.png": base + n.to_bytes(4, "big") for n in range(count)}


def children() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "inglenook.workers.dataset" in process.cmdline() and "guard.py" not in " ".join(
                process.cmdline()
            ):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def test_a_folder_becomes_a_version_and_its_job_tells_what_was_left_out(
    sqlite: Database, tmp_path: Path
) -> None:
    async def main() -> None:
        async with workbench(sqlite, tmp_path) as bench:
            source = put(bench.incoming / "pets", {**PETS, "cats/bad.png": b"no picture", "dogs/x.txt": b""})
            (source / "birds").mkdir()
            job = await bench.bring("pets")  # relative to the first root
            assert job.state is JobState.SUCCEEDED, job.error
            head = bench.studio.datasets.head(bench.project)
            assert head.classes == ("birds", "cats", "dogs")
            assert head.source_format == "image_folders"
            assert bench.labels() == {"cats/1.png": "cats", "cats/2.png": "cats", "dogs/1.png": "dogs"}
            assert (job.result["imported"], job.result["skipped"], job.result["version"]) == (3, 2, 1)
            assert {reason: told["count"] for reason, told in job.result["by_reason"].items()} == {
                "not_a_picture": 1,
                "other_file": 1,
            }
            report = bench.studio.imports.report(OWNER, bench.project, str(job.id))
            lines = [json.loads(line) for line in report.read_text().splitlines()]
            assert {line["path"] for line in lines} == {"cats/bad.png", "dogs/x.txt"}
            assert bench.staged() == []
            assert list((tmp_path / "spool").iterdir()) == []
            scene(1, size=(400, 300)).save(source / "birds" / "large.png")
            await bench.bring("pets")
            record = bench.studio.datasets.get(bench.project, "large.png")
            thumbs = bench.studio.datasets.book.folder(bench.project) / ".thumbs" / "256"
            assert (thumbs / f"{record.id}.webp").is_file()

    asyncio.run(main())


def test_adding_leaves_out_what_is_there_and_replacing_keeps_nothing(
    sqlite: Database, tmp_path: Path
) -> None:
    async def main() -> None:
        async with workbench(sqlite, tmp_path) as bench:
            first = put(bench.incoming / "first", PETS)
            await bench.bring(first)
            second = put(
                bench.incoming / "second", {"cats/1.png": PETS["cats/1.png"], "birds/1.png": picture(9)}
            )
            added = await bench.bring(second, mode="add")
            assert added.result["imported"] == 1
            assert added.result["by_reason"]["duplicate"]["count"] == 1
            assert set(bench.labels()) == {*PETS, "birds/1.png"}
            again = await bench.bring(second, mode="add")
            assert (again.state, again.result["version"]) == (JobState.SUCCEEDED, None)
            kept = await bench.bring(second, mode="add", keep_duplicates=True)
            assert kept.result["imported"] == 2
            replaced = await bench.bring(second, mode="replace")
            assert replaced.result["imported"] == 2
            assert bench.labels() == {"cats/1.png": "cats", "birds/1.png": "birds"}
            assert [note.kind for note in bench.studio.datasets.versions(bench.project)] == ["import"] * 4

    asyncio.run(main())


def test_an_import_that_takes_nothing_fails_and_leaves_the_old_set(sqlite: Database, tmp_path: Path) -> None:
    async def main() -> None:
        async with workbench(sqlite, tmp_path) as bench:
            await bench.bring(put(bench.incoming / "pets", PETS))
            bad = await bench.bring(put(bench.incoming / "bad", {"c/1.png": b"x", "c/2.png": b"y"}))
            assert bad.state is JobState.FAILED
            assert bad.error is not None
            assert "2 files were left out" in bad.error.message
            assert set(bench.labels()) == set(PETS)
            assert bench.staged() == []

    asyncio.run(main())


def test_a_killed_child_fails_the_job_and_leaves_the_old_set(sqlite: Database, tmp_path: Path) -> None:
    async def main() -> None:
        async with workbench(sqlite, tmp_path) as bench:
            await bench.bring(put(bench.incoming / "pets", PETS))
            job = await bench.submit(put(bench.incoming / "many", many(4000)))
            await bench.until(job.id, "progress", stage="read")
            (child,) = children()
            child.send_signal(signal.SIGKILL)
            done = await bench.jobs.wait(job.id)
            assert done.state is JobState.FAILED
            assert done.error is not None
            assert "signal 9" in done.error.message
            assert set(bench.labels()) == set(PETS)
            assert bench.staged() == []

    asyncio.run(main())


def test_a_child_without_memory_fails_the_job_with_the_reason(sqlite: Database, tmp_path: Path) -> None:
    """A table whose one row unpacks to more than the child may take."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    async def main() -> None:
        async with workbench(sqlite, tmp_path) as bench:
            await bench.bring(put(bench.incoming / "pets", PETS))
            big = pa.table({"image": pa.array([b"\0" * (96 * MIB)], pa.large_binary()), "label": ["x"]})
            pq.write_table(big, bench.incoming / "big.parquet", compression="zstd", use_dictionary=False)
            work = bench.studio.works[0]
            assert isinstance(work, ImportWork)
            work.readers = replace(work.readers, memory_bytes=160 * MIB)
            done = await bench.bring("big.parquet")
            assert done.state is JobState.FAILED
            assert done.error is not None
            assert done.error.code == "dataset.out_of_memory"
            assert set(bench.labels()) == set(PETS)

    asyncio.run(main())


def test_a_cancelled_import_stops_at_once_and_leaves_the_old_set(sqlite: Database, tmp_path: Path) -> None:
    async def main() -> None:
        async with workbench(sqlite, tmp_path) as bench:
            await bench.bring(put(bench.incoming / "pets", PETS))
            job = await bench.submit(put(bench.incoming / "many", many(4000)))
            await bench.until(job.id, "progress", stage="read")
            done = await bench.jobs.cancel(job.id, caller=OWNER)
            assert done.state is JobState.CANCELLED
            assert set(bench.labels()) == set(PETS)
            assert (bench.staged(), children()) == ([], [])

    asyncio.run(main())


def test_imports_into_one_project_take_turns_and_can_be_cancelled(sqlite: Database, tmp_path: Path) -> None:
    async def main() -> None:
        async with workbench(sqlite, tmp_path) as bench:
            first = await bench.submit(put(bench.incoming / "many", many(1500)))
            await bench.until(first.id, "progress", stage="read")
            second = await bench.submit(put(bench.incoming / "pets", PETS), mode="add")
            third = await bench.submit(bench.incoming / "pets", mode="add")
            await bench.until(third.id, "state", state="waiting")
            said = bench.jobs.describe(await bench.jobs.get(third.id, OWNER))
            assert "goes first" in said["explanation"]["reason"]["text"]
            assert (await bench.jobs.cancel(third.id, caller=OWNER)).state is JobState.CANCELLED
            assert (await bench.jobs.wait(first.id)).state is JobState.SUCCEEDED
            assert (await bench.jobs.wait(second.id)).state is JobState.SUCCEEDED
            assert len(bench.labels()) == 1503

    asyncio.run(main())


def test_an_import_is_interrupted_when_the_server_ends(sqlite: Database, tmp_path: Path) -> None:
    async def main() -> None:
        async with workbench(sqlite, tmp_path) as bench:
            await bench.bring(put(bench.incoming / "pets", PETS))
            job = await bench.submit(put(bench.incoming / "many", many(4000)))
            await bench.until(job.id, "progress", stage="read")
            folder = bench.studio.datasets.book.folder(bench.project)
        (folder / ".new-of-a-killed-server").mkdir()
        async with workbench(sqlite, tmp_path) as bench:
            assert (await bench.jobs.get(job.id, OWNER)).state is JobState.INTERRUPTED
            assert set(bench.labels()) == set(PETS)
            assert bench.staged() == []

    asyncio.run(main())


def test_a_disk_that_fills_up_fails_the_import_and_leaves_the_old_set(
    sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with workbench(sqlite, tmp_path) as bench:
            await bench.bring(put(bench.incoming / "pets", PETS))
            more = put(bench.incoming / "more", {"c/9.png": picture(9)})

            def full(self: Path, target: Path) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            with monkeypatch.context() as patch:
                patch.setattr(Path, "rename", full)
                done = await bench.bring(more)
            assert done.state is JobState.FAILED
            assert done.error is not None
            assert done.error.code == "store.disk_full"
            assert set(bench.labels()) == set(PETS)
            assert bench.staged() == []

    asyncio.run(main())


def test_folders_outside_of_the_roots_are_refused(sqlite: Database, tmp_path: Path) -> None:
    async def main() -> None:
        root = tmp_path / "allowed"
        put(root, PETS)
        outside = put(tmp_path / "outside", PETS)
        (root / "link").symlink_to(outside)
        async with workbench(sqlite, tmp_path / "data", import_roots=[root]) as bench:
            for path in (outside, root / "link", root / ".." / "outside", "../../outside", "/"):
                with pytest.raises(Denied, match="in no folder from which"):
                    await bench.submit(path)
            with pytest.raises(Invalid, match="There is no"):
                await bench.submit(root / "nothing")
            (root / "x.txt").write_text("x")
            with pytest.raises(Invalid, match="no folder, zip"):
                await bench.submit(root / "x.txt")
            with pytest.raises(Invalid, match="no format"):
                await bench.submit(root, format="nonsense")
            assert (await bench.bring(root)).result["imported"] == 3

    asyncio.run(main())


def test_dropped_files_get_a_class_and_their_upload_is_cleared_away(sqlite: Database, tmp_path: Path) -> None:
    async def main() -> None:
        async with workbench(sqlite, tmp_path) as bench:
            imports = bench.studio.imports
            folder = imports.uploads.new()
            put(folder, {"f0": picture(1), "f1": picture(2), "f2": picture(3)})
            files = [
                SentFile(folder / "f0", "../../a.png"),
                SentFile(folder / "f1", "b.png"),
                SentFile(folder / "f2", "b.png"),
            ]
            order = imports.from_files(OWNER, bench.project, folder, files, " Tabby  cat ", How(mode="add"))
            job = await bench.jobs.wait((await bench.hand_in(order)).id)
            assert job.state is JobState.SUCCEEDED, job.error
            assert set(bench.labels().values()) == {"Tabby cat"}
            assert set(bench.labels()) == {"unnamed/f0.png", "b.png", "b_1.png"}
            assert not folder.exists()

    asyncio.run(main())


def test_uploads_that_nothing_wants_are_swept_after_a_day(sqlite: Database, tmp_path: Path) -> None:
    async def main() -> None:
        async with workbench(sqlite, tmp_path) as bench:
            old, new, wanted = (bench.studio.imports.uploads.new() for _ in range(3))
            for folder in (old, wanted):
                os.utime(folder, (0, 0))
            bench.studio.imports.open(lambda upload: upload == wanted.name)
            assert [folder.exists() for folder in (old, new, wanted)] == [False, True, True]

    asyncio.run(main())


async def checked(bench, **rules):
    payload = {"project": bench.project, "person": OWNER, "rules": rules}
    job = await bench.jobs.submit(
        kind=CHECK, owner=OWNER, work_class=WorkClass.INTERACTIVE, title="check", payload=payload
    )
    done = await bench.jobs.wait(job.id)
    assert done.state is JobState.SUCCEEDED, done.error
    return {one.kind: one for one in bench.studio.checks.overview(bench.project).findings}


def test_checks_find_copies_likes_leaks_and_damage(sqlite: Database, tmp_path: Path) -> None:
    async def main() -> None:
        async with workbench(sqlite, tmp_path) as bench:
            source = put(
                bench.incoming / "in", {f"cats/n{n}.png": picture(n, size=(64, 64)) for n in range(8)}
            )
            for n, name in enumerate(("cats/s.png", "dogs/t.png")):
                (source / name).parent.mkdir(exist_ok=True)
                scene(99, size=(96 + 32 * n, 72 + 24 * n)).save(source / name)
            shutil.copy(source / "cats/n1.png", source / "dogs/copy.png")
            Image.new("RGB", (10, 90), "red").save(source / "dogs/thin.png")
            await bench.bring(source)
            found = await checked(bench)
            assert set(found) == {
                "exact_duplicates",
                "conflicting_labels",
                "near_duplicates",
                "conflicting_labels_near",
                "tiny",
                "odd_aspect",
            }
            page = bench.studio.checks.items(bench.project, "near_duplicates")
            ((item, records),) = page.items
            assert [record.original for record in records] == ["cats/s.png", "dogs/t.png"]
            assert item.keep == records[1].id  # the larger one

            sides = {"s.png": "train", "t.png": "test", "n1.png": "train", "copy.png": "val"}
            plan = Plan(method="manual", options=Options(assignments=sides))
            bench.studio.splits.create(bench.project, "leaky", plan, by=OWNER)
            leaks = {one.kind: one for one in bench.studio.checks.overview(bench.project, "leaky").findings}
            assert leaks["leakage"].items[0].why == "the same file in train and val"
            assert leaks["leakage_near"].items[0].why == "pictures that look alike in train and test"

            damaged = bench.studio.datasets.get(bench.project, "n5.png")
            bench.studio.datasets.file(bench.project, damaged).write_bytes(b"rot")
            gone = bench.studio.datasets.get(bench.project, "n6.png")
            bench.studio.datasets.file(bench.project, gone).unlink()
            again = await checked(bench, read_files=True)
            assert {ids for item in again["corrupt"].items for ids in item.ids} == {damaged.id, gone.id}

            bench.studio.datasets.remove(bench.project, [records[0].id], by=OWNER)
            overview = bench.studio.checks.overview(bench.project)
            assert overview.stale
            ((_, left),) = bench.studio.checks.items(bench.project, "near_duplicates").items
            assert [record.id for record in left] == [records[1].id]

    asyncio.run(main())


def test_what_an_evaluation_finds_stands_beside_what_a_check_finds(sqlite: Database, tmp_path: Path) -> None:
    async def main() -> None:
        async with workbench(sqlite, tmp_path) as bench:
            await bench.bring(put(bench.incoming / "pets", PETS))
            record = bench.studio.datasets.get(bench.project, "2.png")
            source = "evaluation eval-0a1b2c3d"
            doubt = finding("label_noise", [Item(ids=(record.id,), why="looks like dogs")], source)
            bench.studio.checks.put(bench.project, source, [doubt])
            ((item, records),) = bench.studio.checks.items(bench.project, "label_noise").items
            assert (item.why, records[0].id) == ("looks like dogs", record.id)
            bench.studio.checks.drop(bench.project, source)
            assert bench.studio.checks.overview(bench.project).findings == ()

    asyncio.run(main())
