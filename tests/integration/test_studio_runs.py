# SPDX-License-Identifier: Apache-2.0
"""Experiments from start to end: the real queue and scheduler, and real processes that only play."""

import asyncio
import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.integration.test_jobs_restart import killed
from tests.studio_runs import Bench, bench

from inglenook.base.cancel import StopToken
from inglenook.base.errors import InglenookError
from inglenook.base.ids import OWNER, JobId, ModelId
from inglenook.base.work import WorkClass
from inglenook.jobs.model import JobState
from inglenook.runtime.contracts import LoadPlan
from inglenook.runtime.scheduler.policy import Rules
from inglenook.store.database import Database
from inglenook.studio.training.errors import (
    CheckpointNotFound,
    NotTrainable,
    TrainingInProgress,
    WrongStatus,
)
from inglenook.studio.training.model import Status
from inglenook.studio.training.news import News
from inglenook.studio.training.work import MOST_INTERRUPTIONS
from inglenook.testing.devices import fake_device
from inglenook.testing.studio import accuracy_of, loss_of

pytestmark = pytest.mark.slow  # each starts a process

Test = Callable[[Bench], Coroutine[Any, Any, None]]


def run(test: Test, root: Path, database: Database, **options: Any) -> None:
    async def main() -> None:
        async with bench(root, database, **options) as it:
            await test(it)

    asyncio.run(main())


def test_a_run_is_written_down_epoch_by_epoch_and_completes(tmp_path: Path, sqlite: Database) -> None:
    async def main(it: Bench) -> None:
        made = it.made(epochs=4)
        started = await it.start(made)
        assert started.status in (Status.PENDING, Status.TRAINING)
        done = await it.until(made, Status.COMPLETED)
        records = it.experiments.epochs(OWNER, it.project, made.id)
        assert [record.epoch for record in records] == [1, 2, 3, 4]
        assert [record.values["train_loss"] for record in records] == [
            loss_of(epoch) for epoch in range(1, 5)
        ]
        assert [record.best for record in records] == [True, True, True, False]
        assert done.best_epoch == done.checkpoints["best"].epoch == 3
        assert done.best_metric == {"val_accuracy": accuracy_of(3)}
        assert done.final_metrics is not None
        assert done.final_metrics["train_loss"] == loss_of(4)
        assert done.data is not None
        assert done.data.examples == {"train": 6, "val": 2, "test": 2}
        assert (done.data.dataset_version, done.data.split_seed, done.data.classes) == (1, 42, ("cat", "dog"))
        assert done.built is not None
        assert done.built.environment["examples"] == "10"
        assert done.code is not None
        assert done.epoch == 4
        job = await it.jobs.wait(JobId(done.job or ""))
        assert job.state is JobState.SUCCEEDED
        assert job.result["best_epoch"] == 3
        assert job.cost_s > 0
        lines = [text for _, text in it.experiments.log(OWNER, it.project, made.id)]
        assert lines[-1] == "completed: all epochs are done"
        assert it.experiments.samples(OWNER, it.project, made.id)["epoch"] == 4
        assert it.experiments.list(OWNER, it.project)[0].best_metric_value == accuracy_of(3)

    run(main, tmp_path, sqlite)


def test_its_stream_tells_each_epoch_once_and_goes_on_where_a_reader_left(
    tmp_path: Path, sqlite: Database
) -> None:
    async def main(it: Bench) -> None:
        made = it.made("waits", epochs=3)
        await it.start(made)
        await it.until_epoch(made, 1)
        watching = asyncio.create_task(it.seen(made))
        await asyncio.sleep(0)
        (it.documents.folder(it.project, made.id) / "go").touch()
        seen = await watching
        assert [news.data["epoch"] for news in seen if news.kind == "epoch_end"] == [1, 2, 3]
        assert seen[0].kind == "status"
        assert seen[-1].kind == "complete"
        assert seen[-1].data["status"] == "completed"
        assert any(news.kind == "batch" and news.data["examples_per_s"] == 100.0 for news in seen)
        second = next(news.id for news in seen if news.kind == "epoch_end" and news.data["epoch"] == 2)
        later = await it.seen(made, second)
        assert [news.data.get("epoch") for news in later] == [None, 3, None]

    run(main, tmp_path, sqlite)


def test_a_created_experiment_s_stream_is_a_status_and_a_complete(tmp_path: Path, sqlite: Database) -> None:
    async def main(it: Bench) -> None:
        made = it.made()
        assert [(news.kind, news.data["status"]) for news in await it.seen(made)] == [
            ("status", "created"),
            ("complete", "created"),
        ]

    run(main, tmp_path, sqlite)


def test_stopped_it_keeps_a_checkpoint_and_resumed_it_has_the_numbers_of_a_run_that_never_stopped(
    tmp_path: Path, sqlite: Database
) -> None:
    async def main(it: Bench) -> None:
        whole = it.made("normal")
        await it.start(whole)
        await it.until(whole, Status.COMPLETED)
        made = it.made("waits")
        await it.start(made)
        await it.until_epoch(made, 1)
        stopped = await it.stop(made)
        assert stopped.status is Status.CANCELLED
        assert stopped.checkpoints["last"].epoch == 1
        job = await it.jobs.wait(JobId(stopped.job or ""))
        assert job.state is JobState.CANCELLED
        assert job.receipt is not None
        assert "a checkpoint was kept" in job.receipt.how
        assert (job.receipt.before_bytes, job.receipt.after_bytes) == (1000, 10)
        await it.runs.resume(OWNER, it.project, made.id)
        done = await it.until(made, Status.COMPLETED)
        assert done.resumed_from == (1,)
        same = ("train_loss", "val_loss", "val_accuracy", "lr")
        for name in same:
            assert [record.values[name] for record in it.experiments.epochs(OWNER, it.project, made.id)] == [
                record.values[name] for record in it.experiments.epochs(OWNER, it.project, whole.id)
            ]

    run(main, tmp_path, sqlite)


def test_a_killed_child_is_a_failed_experiment_that_says_the_signal_and_can_be_resumed(
    tmp_path: Path, sqlite: Database
) -> None:
    async def main(it: Bench) -> None:
        made = it.made("killed", epochs=3)
        await it.start(made)
        failed = await it.until(made, Status.FAILED)
        assert failed.error is not None
        assert failed.error.type == "child.killed"
        assert failed.error.message.startswith("Training stopped in epoch 2: ")
        assert "signal 9 (SIGKILL)" in failed.error.message
        assert failed.error.hint == "resume it: it goes on after epoch 1"
        job = await it.jobs.wait(JobId(failed.job or ""))
        assert job.state is JobState.FAILED
        await it.runs.resume(OWNER, it.project, made.id)
        assert (await it.until(made, Status.COMPLETED)).epoch == 3

    run(main, tmp_path, sqlite)


def test_a_run_that_diverges_fails_with_the_worker_s_words(tmp_path: Path, sqlite: Database) -> None:
    async def main(it: Bench) -> None:
        made = it.made("diverges")
        await it.start(made)
        failed = await it.until(made, Status.FAILED)
        assert failed.error is not None
        assert (failed.error.type, failed.error.message) == (
            "train.diverged",
            "Training stopped in epoch 2: The loss is not a finite number.",
        )
        with pytest.raises(WrongStatus):
            await it.start(made)

    run(main, tmp_path, sqlite)


def test_what_is_not_finite_is_named_and_never_a_number(tmp_path: Path, sqlite: Database) -> None:
    async def main(it: Bench) -> None:
        made = it.made("not finite", epochs=1)
        await it.start(made)
        await it.until(made, Status.COMPLETED)
        (record,) = it.experiments.epochs(OWNER, it.project, made.id)
        assert record.not_finite == ("train_loss",)
        assert "train_loss" not in record.as_json()
        json.dumps(record.as_json(), allow_nan=False)

    run(main, tmp_path, sqlite)


def test_a_child_that_talks_nonsense_is_ended_and_the_experiment_fails(
    tmp_path: Path, sqlite: Database
) -> None:
    async def main(it: Bench) -> None:
        made = it.made("talks nonsense")
        await it.start(made)
        failed = await it.until(made, Status.FAILED)
        assert failed.error is not None
        assert "said Loaded while it trained" in failed.error.message

    run(main, tmp_path, sqlite)


def test_of_two_starts_at_once_one_wins(tmp_path: Path, sqlite: Database) -> None:
    async def main(it: Bench) -> None:
        made = it.made("waits")
        both = await asyncio.gather(it.start(made), it.start(made), return_exceptions=True)
        assert sorted(type(one).__name__ for one in both) == ["Experiment", "TrainingInProgress"]
        await it.stop(made)
        assert len(await it.jobs.list(OWNER)) == 1

    run(main, tmp_path, sqlite)


def test_several_wait_for_their_turn_and_one_that_waits_can_be_stopped(
    tmp_path: Path, sqlite: Database
) -> None:
    async def main(it: Bench) -> None:
        first, second, third = it.made("waits"), it.made("normal", epochs=1), it.made("normal", epochs=1)
        for one in (first, second, third):
            await it.start(one)
        await it.until_epoch(first, 1)
        assert it.now(second).status is Status.PENDING
        waiting = it.jobs.describe(await it.jobs.get(JobId(it.now(second).job or ""), OWNER))
        assert waiting["explanation"]["reason"]["text"].startswith("1 training runs, as many as may at once")
        stopped = await it.stop(third)
        assert stopped.status is Status.CANCELLED
        with pytest.raises(CheckpointNotFound):
            await it.runs.resume(OWNER, it.project, third.id)
        await it.stop(first)
        await it.until(second, Status.COMPLETED)
        assert len(it.engine.children) == 2  # one experiment, one child

    run(main, tmp_path, sqlite)


def test_a_running_experiment_cannot_be_changed_or_deleted_and_its_project_says_why(
    tmp_path: Path, sqlite: Database
) -> None:
    async def main(it: Bench) -> None:
        made = it.made("waits")
        await it.start(made)
        await it.until_epoch(made, 1)
        with pytest.raises(TrainingInProgress):
            it.experiments.update(OWNER, it.project, made.id, {"hyperparameters": {"batch_size": 2}})
        with pytest.raises(TrainingInProgress):
            it.experiments.delete(OWNER, it.project, made.id)
        with pytest.raises(TrainingInProgress):
            await it.runs.restart(OWNER, it.project, made.id)
        assert it.experiments.running(it.project) == "waits is in training"
        await it.stop(made)
        assert it.experiments.running(it.project) is None
        it.experiments.delete(OWNER, it.project, made.id)
        assert it.experiments.list(OWNER, it.project) == ()

    run(main, tmp_path, sqlite)


def test_restarted_it_has_forgotten_everything_and_its_events_are_new_ones(
    tmp_path: Path, sqlite: Database
) -> None:
    async def main(it: Bench) -> None:
        made = it.made(epochs=2)
        await it.start(made)
        await it.until(made, Status.COMPLETED)
        folder = it.documents.folder(it.project, made.id)
        (folder / "evaluations" / "eval-00000001").mkdir(parents=True)
        before = [news.id for news in await it.seen(made) if news.kind == "epoch_end"]
        again = await it.runs.restart(OWNER, it.project, made.id)
        assert (again.status, again.epoch, again.best_metric, again.checkpoints) == (
            Status.CREATED,
            0,
            None,
            {},
        )
        assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "experiment.json"]
        assert list((folder / "checkpoints").iterdir()) == []
        it.experiments.update(OWNER, it.project, made.id, {"hyperparameters": {"max_epochs": 1}})
        await it.start(made)
        await it.until(made, Status.COMPLETED)
        seen = await it.seen(made, before[-1])
        assert [news.data["epoch"] for news in seen if news.kind == "epoch_end"] == [1]

    run(main, tmp_path, sqlite)


def test_a_start_for_which_the_queue_has_no_room_is_taken_back(tmp_path: Path, sqlite: Database) -> None:
    async def main(it: Bench) -> None:
        made = it.made()
        await it.jobs.stop(1)
        with pytest.raises(InglenookError, match="takes no jobs"):
            await it.start(made)
        assert it.now(made) == made

    run(main, tmp_path, sqlite)


def test_nothing_starts_without_pictures_or_without_the_device(tmp_path: Path, sqlite: Database) -> None:
    async def main(it: Bench) -> None:
        made = it.made()
        it.experiments.update(OWNER, it.project, made.id, {"hardware": {"selected_devices": ["cuda:3"]}})
        with pytest.raises(NotTrainable, match="cuda:3"):
            await it.start(made)
        it.experiments.update(OWNER, it.project, made.id, {"hardware": {"selected_devices": ["cpu"]}})
        it.datasets.relabel(it.project, it.datasets.ids(it.project), None, by=OWNER)
        with pytest.raises(NotTrainable, match="is empty"):
            await it.start(made)
        assert it.now(made).status is Status.CREATED

    run(main, tmp_path, sqlite)


def test_what_fits_no_device_is_refused_with_both_numbers(tmp_path: Path, sqlite: Database) -> None:
    async def main(it: Bench) -> None:
        made = it.made()
        await it.start(made)
        failed = await it.until(made, Status.FAILED)
        assert failed.error is not None
        assert failed.error.type == "model.too_large"

    run(main, tmp_path, sqlite, devices=(fake_device("cpu", 10**6),))


def test_a_job_that_is_cancelled_or_done_again_elsewhere_takes_its_experiment_along(
    tmp_path: Path, sqlite: Database
) -> None:
    async def main(it: Bench) -> None:
        made = it.made("waits", epochs=2)
        job = JobId((await it.start(made)).job or "")
        await it.until_epoch(made, 1)
        await it.jobs.cancel(job, caller=OWNER)
        stopped = await it.until(made, Status.CANCELLED)
        again = await it.jobs.retry(job, caller=OWNER)
        await it.jobs.wait(again.id)
        done = await it.until(made, Status.COMPLETED)
        assert done.job == again.id
        assert stopped.job == job
        assert done.resumed_from == (1,)

    run(main, tmp_path, sqlite)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_what_was_training_when_the_server_went_away_goes_on_by_itself(
    tmp_path: Path, sqlite: Database, how: str
) -> None:
    async def main() -> None:
        async with bench(tmp_path, sqlite) as it:
            running, waiting = it.made("waits", epochs=3), it.made("normal", epochs=1)
            await it.start(running)
            await it.start(waiting)
            await it.until_epoch(running, 1)
            project = it.project
            if how == "killed":
                pids = [pid for child in it.engine.children for pid in child.pids]
                await killed(it.jobs, [])
                for pid in pids:  # its guard would, where our own end has not
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                assert it.now(running).status is Status.TRAINING
        async with bench(tmp_path, sqlite, project=project) as it:
            done = await it.until(running, Status.COMPLETED)
            assert done.resumed_from == (1,)
            assert [one.epoch for one in it.experiments.epochs(OWNER, project, running.id)] == [1, 2, 3]
            await it.until(waiting, Status.COMPLETED)

    asyncio.run(main())


def test_a_run_whose_job_is_lost_is_interrupted_and_never_training_for_ever(
    tmp_path: Path, sqlite: Database
) -> None:
    async def main() -> None:
        async with bench(tmp_path, sqlite) as it:
            made, never = it.made("waits"), it.made("normal")
            await it.start(made)
            await it.until_epoch(made, 1)
            await it.stop(made)
            lost = {"status": Status.TRAINING, "job": "job_00000000000000000000000000", "error": None}
            it.documents.change(it.project, made.id, lambda old: replace(old, **lost))
            it.documents.change(it.project, never.id, lambda old: replace(old, status=Status.PENDING))
            project = it.project
        async with bench(tmp_path, sqlite, project=project) as it:
            failed = it.now(made)
            assert failed.status is Status.FAILED
            assert failed.error is not None
            assert failed.error.type == "interrupted"
            assert failed.error.hint == "resume it"
            assert it.now(never).status is Status.CREATED

    asyncio.run(main())


def test_a_run_that_takes_its_server_down_again_and_again_is_given_up(
    tmp_path: Path, sqlite: Database
) -> None:
    async def main(it: Bench) -> None:
        made = it.made()
        await it.start(made)
        await it.until(made, Status.COMPLETED)
        often = {"status": Status.FAILED, "interrupted": 4}
        it.documents.change(it.project, made.id, lambda old: replace(old, **often))
        await it.runs.resume(OWNER, it.project, made.id)  # a person's wish counts anew
        await it.until(made, Status.COMPLETED)

    run(main, tmp_path, sqlite)


def test_forty_creates_from_eight_threads_leave_forty_entries(tmp_path: Path, sqlite: Database) -> None:
    async def main(it: Bench) -> None:
        gate = threading.Barrier(8)

        def create(_: int) -> None:
            gate.wait()
            for _ in range(5):
                it.experiments.create(OWNER, it.project, {})

        with ThreadPoolExecutor(8) as pool:
            await asyncio.gather(
                *(asyncio.get_running_loop().run_in_executor(pool, create, n) for n in range(8))
            )
        names = [one.name for one in it.experiments.list(OWNER, it.project)]
        assert sorted(names) == sorted(f"Experiment {number}" for number in range(1, 41))

    run(main, tmp_path, sqlite)


def test_a_run_steps_aside_for_somebody_who_waits_says_so_and_goes_on(
    tmp_path: Path, sqlite: Database
) -> None:
    async def main(it: Bench) -> None:
        made = it.made("waits", epochs=3)
        await it.start(made)
        await it.until_epoch(made, 1)
        job = JobId(it.now(made).job or "")
        request = it.scheduler.request(
            person=OWNER,
            work_class=WorkClass.INTERACTIVE,
            plan=LoadPlan(ModelId("m"), "fake", {"cpu": 10**9}),
            label="a picture for owner",
            keep_s=0.0,
        )
        async with asyncio.timeout(60):
            lease = await it.scheduler.acquire(request, StopToken())
            await until_job(it, job, JobState.PAUSED)
            while it.now(made).parking.since is None:  # its document follows its job
                await asyncio.sleep(0.02)
        parked = it.now(made)
        assert parked.status is Status.TRAINING
        assert parked.parking.times == 1
        assert parked.parking.since is not None
        async with asyncio.timeout(60), aclosing(it.watching.stream(it.project, made.id)) as late:
            told = [news.data async for news in until_parking(late)][-1]
        assert told["parked"] is True, "also to somebody who comes when it is parked already"
        assert "a picture for owner" in told["text"]
        (it.documents.folder(it.project, made.id) / "go").touch()
        lease.release()
        done = await it.until(made, Status.COMPLETED)
        assert done.parking.since is None
        assert [one.values["train_loss"] for one in it.experiments.epochs(OWNER, it.project, made.id)] == [
            loss_of(epoch) for epoch in (1, 2, 3)
        ]
        lines = [text for _, text in it.experiments.log(OWNER, it.project, made.id)]
        assert any(line.startswith("parked: ") for line in lines)
        assert any(line.startswith("goes on after ") for line in lines)

    run(main, tmp_path, sqlite, devices=(fake_device("cpu", 17 * 10**8),), rules=Rules(training_slice_s=0.3))


async def until_parking(stream: AsyncIterator[News]) -> AsyncIterator[News]:
    async for news in stream:
        yield news
        if news.kind == "parking":
            return


async def until_job(it: Bench, job: JobId, state: JobState) -> None:
    async with aclosing(it.jobs.subscribe(job)) as events:
        async for event in events:
            if event.data.get("state") == state:
                return


def test_a_run_whose_server_is_killed_four_times_in_one_epoch_is_given_up_and_says_so(
    tmp_path: Path, sqlite: Database
) -> None:
    async def main() -> None:
        async with bench(tmp_path, sqlite) as it:
            project, made = it.project, it.made("waits", epochs=3)
            await it.start(made)
            await it.until_epoch(made, 1)
            await killed_with_its_child(it)
        for time in range(1, MOST_INTERRUPTIONS + 1):
            async with bench(tmp_path, sqlite, project=project) as it:
                found = await it.until(made, Status.TRAINING)
                assert found.interrupted == time
                await killed_with_its_child(it)
        async with bench(tmp_path, sqlite, project=project) as it:
            failed = await it.until(made, Status.FAILED)
            assert failed.error is not None
            assert failed.error.type == "interrupted"
            assert failed.error.message == "The server stopped 4 times while this trained epoch 2."
            assert "resume it by hand" in (failed.error.hint or "")
            (it.documents.folder(project, made.id) / "go").touch()
            await it.runs.resume(OWNER, project, made.id)  # a person's wish counts anew
            done = await it.until(made, Status.COMPLETED)
            assert (done.interrupted, done.epoch) == (0, 3)

    asyncio.run(main())


async def killed_with_its_child(it: Bench) -> None:
    pids = [pid for child in it.engine.children for pid in child.pids]
    await killed(it.jobs, [])
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_last_checkpoint_whose_line_was_lost_is_found_by_its_file(tmp_path: Path, sqlite: Database) -> None:
    """A full disk came between the file and its line in `experiment.json`."""

    async def main(it: Bench) -> None:
        made = it.made("waits", epochs=3)
        await it.start(made)
        await it.until_epoch(made, 1)
        stopped = await it.stop(made)
        lost = {"status": Status.FAILED, "checkpoints": {}, "epoch": 0}
        it.documents.change(it.project, made.id, lambda old: replace(old, **lost))
        told = it.experiments.get_with_last(OWNER, it.project, made.id).checkpoints["last"]
        assert told.size_bytes == stopped.checkpoints["last"].size_bytes
        (it.documents.folder(it.project, made.id) / "go").touch()
        await it.runs.resume(OWNER, it.project, made.id)
        done = await it.until(made, Status.COMPLETED)
        assert done.resumed_from == (1,)  # as the checkpoint itself knows
        assert [one.epoch for one in it.experiments.epochs(OWNER, it.project, made.id)] == [1, 2, 3]

    run(main, tmp_path, sqlite)
