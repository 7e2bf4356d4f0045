# SPDX-License-Identifier: Apache-2.0
"""Evaluations from order to end: the real queue and scheduler, and real processes that only play."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.studio_runs import Bench, bench

from inglenook.base.errors import InglenookError
from inglenook.base.ids import OWNER, JobId, PersonId
from inglenook.jobs.model import EventType, JobState
from inglenook.store.database import Database
from inglenook.studio.evaluation.errors import EvaluationExists, NothingSelected, NotReady
from inglenook.studio.evaluation.model import EvaluationRecord, EvaluationRequest, ResultQuery
from inglenook.studio.training.model import Experiment, Status
from inglenook.testing.studio import EVALUATION_FAILS, EVALUATION_KILLED, EVALUATION_WAITS

pytestmark = pytest.mark.slow  # each starts a process

Test = Callable[[Bench, Experiment], Coroutine[Any, Any, None]]
BOTH = ("val", "test")


def run(test: Test, root: Path, database: Database) -> None:
    """With an experiment that is completed."""

    async def main() -> None:
        async with bench(root, database) as it:
            made = it.made(epochs=1)
            await it.start(made)
            await it.until(made, Status.COMPLETED)
            await test(it, made)

    asyncio.run(main())


async def ordered(
    it: Bench, made: Experiment, *, again: bool = False, **asked: Any
) -> tuple[EvaluationRecord, JobId]:
    wanted = EvaluationRequest(**{"split_subsets": BOTH, **asked})
    record, job = await it.evaluation_runs.order(OWNER, it.project, made.id, wanted, again=again)
    return record, job.id


async def done(it: Bench, made: Experiment, **asked: Any) -> EvaluationRecord:
    """What its document says when its job is final."""
    record, job = await ordered(it, made, **asked)
    await it.evaluation_runs.settle((it.project, made.id, record.id), await it.jobs.wait(job))
    return it.evaluations.get(OWNER, it.project, made.id, record.id)[0]


async def until_running(it: Bench, job: JobId) -> None:
    async for event in it.jobs.subscribe(job):
        if event.type is EventType.PROGRESS:
            return


def test_pooled_parts_of_a_perfect_model_are_all_right_and_each_picture_names_its_part(
    tmp_path: Path, sqlite: Database
) -> None:
    async def main(it: Bench, made: Experiment) -> None:
        record = await done(it, made)
        assert record.status == "completed"
        assert (record.progress.processed, record.progress.total) == (4, 4)
        key = it.evaluations.key(OWNER, it.project, made.id)
        figures = it.views.aggregate(key)
        assert figures.accuracy == 1.0
        assert figures.subsets == {"val": 2, "test": 2}
        page = it.views.page(key, ResultQuery(), page=1, page_size=3)
        assert (len(page.results), page.total) == (3, 4)
        assert {one.subset for one in it.views.page(key, ResultQuery(), page=1, page_size=9).results} == {
            "val",
            "test",
        }
        with pytest.raises(EvaluationExists):
            await ordered(it, made)
        await it.evaluation_runs.reset(OWNER, it.project, made.id)
        assert it.evaluations.all(OWNER, it.project, made.id) == []
        assert (await done(it, made)).status == "completed"

    run(main, tmp_path, sqlite)


def test_one_that_fails_is_shown_with_the_reason_and_can_be_reset(tmp_path: Path, sqlite: Database) -> None:
    async def main(it: Bench, made: Experiment) -> None:
        for size, words in ((EVALUATION_FAILS, "told to fail"), (EVALUATION_KILLED, "signal 9")):
            record = await done(it, made, batch_size=size)
            assert record.status == "failed"
            assert words in (record.error or "")
            assert it.evaluations.get(OWNER, it.project, made.id)[1] is None
            with pytest.raises(NotReady, match="failed"):
                it.views.table((it.project, made.id, record.id))
            await it.evaluation_runs.reset(OWNER, it.project, made.id)
        assert (await done(it, made)).status == "completed"

    run(main, tmp_path, sqlite)


def test_a_reset_stops_one_that_runs_and_a_cancelled_job_is_a_cancelled_evaluation(
    tmp_path: Path, sqlite: Database
) -> None:
    async def main(it: Bench, made: Experiment) -> None:
        first, job = await ordered(it, made, batch_size=EVALUATION_WAITS)
        second, queued = await ordered(it, made, batch_size=EVALUATION_WAITS, again=True)
        await until_running(it, job)
        assert first.id in (it.evaluations.running(it.project) or "")
        shown = it.evaluations.get(OWNER, it.project, made.id, first.id)[0]
        assert (shown.status, shown.progress.processed, shown.progress.total) == ("running", 1, 4)
        await it.jobs.cancel(queued, caller=OWNER)
        final = await it.jobs.wait(queued)
        await it.evaluation_runs.settle((it.project, made.id, second.id), final)
        assert it.evaluations.get(OWNER, it.project, made.id, second.id)[0].status == "cancelled"
        await it.evaluation_runs.reset(OWNER, it.project, made.id)
        assert (await it.jobs.wait(job)).state is JobState.CANCELLED
        assert it.evaluations.all(OWNER, it.project, made.id) == []
        assert it.evaluations.running(it.project) is None

    run(main, tmp_path, sqlite)


def test_a_server_that_stops_in_the_middle_leaves_it_to_the_next_one(
    tmp_path: Path, sqlite: Database
) -> None:
    async def begun() -> tuple[str, Experiment, EvaluationRecord, JobId]:
        async with bench(tmp_path, sqlite) as it:
            made = it.made(epochs=1)
            await it.start(made)
            await it.until(made, Status.COMPLETED)
            record, job = await ordered(it, made, batch_size=EVALUATION_WAITS)
            await until_running(it, job)
            folder = it.evaluations.documents.folder((it.project, made.id, record.id))
        (folder / "go").touch()
        return it.project, made, record, job

    async def gone_on(project: str, made: Experiment, record: EvaluationRecord, job: JobId) -> None:
        async with bench(tmp_path, sqlite, project=project) as it:
            assert (await it.jobs.wait(job)).state is JobState.SUCCEEDED
            found, figures = it.evaluations.get(OWNER, project, made.id, record.id)
            assert found.status == "completed"
            assert figures is not None

    asyncio.run(gone_on(*asyncio.run(begun())))


def test_one_without_a_job_is_failed_when_the_server_starts(tmp_path: Path, sqlite: Database) -> None:
    async def kept() -> tuple[str, Experiment]:
        async with bench(tmp_path, sqlite) as it:
            made = it.made(epochs=1)
            await it.start(made)
            await it.until(made, Status.COMPLETED)
            it.evaluations.order(OWNER, it.project, made.id, EvaluationRequest(), again=False)
            return it.project, made

    async def found(project: str, made: Experiment) -> None:
        async with bench(tmp_path, sqlite, project=project) as it:
            record, _ = it.evaluations.get(OWNER, project, made.id)
            assert record.status == "failed"
            assert "queue" in (record.error or "")

    asyncio.run(found(*asyncio.run(kept())))


def test_labels_of_now_count_and_pictures_that_are_gone_are_left_out(
    tmp_path: Path, sqlite: Database
) -> None:
    async def main(it: Bench, made: Experiment) -> None:
        part = it.splits.assignments(it.project, "first")
        held = sorted(image for image, subset in part.items() if subset in BOTH)
        shown = {one: it.datasets.get(it.project, one).annotations[0].class_name for one in held}
        cats, dogs = ([one for one in held if shown[one] == name] for name in ("cat", "dog"))
        it.datasets.relabel(it.project, [cats[0]], "dog", by=OWNER)
        record = await done(it, made)
        key = (it.project, made.id, record.id)
        assert record.dataset_version == 2
        assert it.views.one(key, cats[0]).ground_truth["class_name"] == "dog"
        it.datasets.relabel(it.project, [cats[0]], "cat", by=OWNER)
        it.datasets.rename_class(it.project, "dog", "hound", by=OWNER)
        it.datasets.remove(it.project, [cats[1]], by=OWNER)
        it.datasets.relabel(it.project, [dogs[0]], "fox", by=OWNER)
        second = await done(it, made, again=True)
        assert second.left_out == {"gone": 1, "unlabelled": 1}
        key = (it.project, made.id, second.id)
        rows = it.views.page(key, ResultQuery(), page=1, page_size=9).results
        assert {one.id: one.ground_truth["class_name"] for one in rows} == {cats[0]: "cat", dogs[1]: "dog"}

    run(main, tmp_path, sqlite)


def test_what_cannot_be_evaluated_is_refused_before_anything_is_kept(
    tmp_path: Path, sqlite: Database
) -> None:
    async def main(it: Bench, made: Experiment) -> None:
        fresh = it.made("fresh")
        with pytest.raises(NotReady, match="must be completed"):
            await ordered(it, fresh)
        with pytest.raises(InglenookError, match="no checkpoint other"):
            await ordered(it, made, checkpoint="other")
        with pytest.raises(NothingSelected):
            await ordered(it, made, split_subsets=())
        with pytest.raises(InglenookError):
            it.evaluations.get(PersonId("someone"), it.project, made.id)
        held = [image for image, part in it.splits.assignments(it.project, "first").items() if part == "test"]
        it.datasets.remove(it.project, held, by=OWNER)
        with pytest.raises(NothingSelected, match="test"):
            await ordered(it, made, split_subsets=("test",))
        home = it.evaluations.documents.home(it.project, made.id)
        assert not home.exists() or list(home.iterdir()) == []
        assert await done(it, made, split_subsets=("val",))
        await it.runs.restart(OWNER, it.project, made.id)
        assert it.evaluations.all(OWNER, it.project, made.id) == []

    run(main, tmp_path, sqlite)
