# SPDX-License-Identifier: Apache-2.0
"""What becomes of jobs when their server stops, is killed, or cannot write."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import pytest
from tests.scripted_work import STOPPED, Gate, ScriptedWork, done_at_once, made, run, serving, submit

from inglenook.base.errors import Failed, Unavailable
from inglenook.base.ids import OWNER, JobId
from inglenook.jobs.model import EventType, Job, JobState
from inglenook.jobs.records import JobRecords
from inglenook.jobs.reporter import RESERVED_SEQS
from inglenook.jobs.service import JobsService
from inglenook.jobs.work import Report, Stopped
from inglenook.store.database import Database
from inglenook.testing.clock import FakeClock


async def killed(service: JobsService, leave: list[asyncio.Task[Any]]) -> None:
    """End the tasks of a server as a SIGKILL would: nobody writes anything any more."""
    service._blocking._closed = True
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        leave.append(task)
        task.cancel()
    await asyncio.gather(*leave, return_exceptions=True)


async def one_of_each(service: JobsService, gates: Mapping[str, Gate]) -> dict[str, JobId]:
    """A running, a waiting and three queued jobs."""
    jobs = {}
    for name in ("running", "waiting", "queued 1", "queued 2", "queued 3"):
        jobs[name] = (await submit(service, name=name)).id
    await gates["running"].until_entered()
    await gates["waiting"].until_entered()
    return jobs


def work_in_two_states(*, restarts: bool) -> tuple[ScriptedWork, dict[str, Gate]]:
    gates = {"running": Gate(state="running"), "waiting": Gate(state="waiting")}

    async def script(job: Job, report: Report) -> Mapping[str, Any]:
        if job.payload["name"] == "running":
            await report.progress(0.4, stage="denoise", detail={})
            await report.result({"picture": "pic_1"})
        return await gates[job.payload["name"]](job, report)

    return ScriptedWork(script, restarts=restarts), gates


@pytest.mark.parametrize("restarts", [True, False])
@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_after_a_restart_every_job_goes_on_or_says_why_not(
    database: Database, restarts: bool, how: str
) -> None:
    async def main() -> None:
        work, gates = work_in_two_states(restarts=restarts)
        first = made(database, [work], clock=FakeClock(), max_active=2)
        await first.start()
        jobs = await one_of_each(first, gates)
        if how == "stopped":
            await first.stop(5)
        else:
            await killed(first, [])
        again = ScriptedWork(done_at_once, restarts=restarts)
        async with serving(database, again, max_active=1) as second:
            for name, job in jobs.items():
                done = await second.wait(job)
                if name == "running" and not restarts:
                    assert done.state is JobState.INTERRUPTED
                    assert done.error is not None
                    assert "40%" in done.error.message
                    assert done.result == {"parts": [{"picture": "pic_1"}]}
                    assert (done.receipt == STOPPED) is (how == "stopped")
                else:
                    assert done.state is JobState.SUCCEEDED, name
                    assert done.error is None
        begun = [name for name, job in jobs.items() if restarts or name != "running"]
        assert again.begun == [jobs[name] for name in begun]

    run(main)


def test_a_job_that_goes_on_finds_what_it_had_finished(database: Database) -> None:
    seen: list[Any] = []

    async def main() -> None:
        work, gates = work_in_two_states(restarts=True)
        first = made(database, [work], clock=FakeClock())
        await first.start()
        job = await submit(first, name="running")
        await gates["running"].until_entered()
        await first.stop(5)

        async def go_on(job: Job, _report: Report) -> Mapping[str, Any]:
            seen.append((job.result, job.progress))
            return {}

        async with serving(database, ScriptedWork(go_on, restarts=True)) as second:
            await second.wait(job.id)
        assert seen == [({"parts": [{"picture": "pic_1"}]}, 0.0)]

    run(main)


def test_an_interrupted_job_can_be_begun_again_by_a_person(database: Database) -> None:
    async def main() -> None:
        work, gates = work_in_two_states(restarts=False)
        first = made(database, [work], clock=FakeClock())
        await first.start()
        job = await submit(first, name="running")
        await gates["running"].until_entered()
        await first.stop(5)
        async with serving(database, ScriptedWork(done_at_once)) as second:
            again = await second.retry(job.id, caller=OWNER)
            assert again.id != job.id
            assert (await second.wait(again.id)).state is JobState.SUCCEEDED
        # once its kind of work has learned to go on, the same job does
        async with serving(database, ScriptedWork(done_at_once, restarts=True)) as third:
            same = await third.retry(job.id, caller=OWNER)
            assert same.id == job.id
            done = await third.wait(job.id)
            assert (done.state, done.error) == (JobState.SUCCEEDED, None)

    run(main)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_event_numbers_do_not_repeat_over_a_restart(database: Database, how: str) -> None:
    async def main() -> None:
        told = asyncio.Event()

        async def chatty(_job: Job, report: Report) -> Mapping[str, Any]:
            await report.running()
            for number in range(2 * RESERVED_SEQS + 10):
                await report.preview(picture=0, step=number, media_type="image/png", data=b"")
            told.set()
            await report.stop.wait()
            raise Stopped(STOPPED)

        first = made(database, [ScriptedWork(chatty, restarts=True)], clock=FakeClock())
        await first.start()
        job = await submit(first)
        await told.wait()
        last_seen = (await first.get(job.id, OWNER)).event_seq
        assert last_seen > 2 * RESERVED_SEQS
        if how == "stopped":
            await first.stop(5)
        else:
            await killed(first, [])
        async with serving(database, ScriptedWork(done_at_once, restarts=True)) as second:
            async with aclosing(second.subscribe(job.id, last_seen)) as events:
                seen = [event async for event in events]
            assert seen[0].type is EventType.STATE
            assert all(event.seq > last_seen for event in seen)
            assert seen[-1].data["state"] == "succeeded"

    run(main)


def test_a_job_of_a_kind_that_nobody_knows_any_more_fails_with_its_name(database: Database) -> None:
    async def main() -> None:
        gate = Gate()
        work = ScriptedWork(gate, kind="train")
        first = made(database, [work], clock=FakeClock())
        await first.start()
        job = await submit(first, kind="train")
        await gate.until_entered()
        await killed(first, [])
        async with serving(database, ScriptedWork(done_at_once)) as second:
            done = await second.wait(job.id)
        assert done.state is JobState.FAILED
        assert done.error is not None
        assert "'train'" in done.error.message

    run(main)


def test_work_that_ignores_the_shutdown_is_ended_and_interrupted(database: Database) -> None:
    async def main() -> None:
        running = asyncio.Event()

        async def deaf(_job: Job, report: Report) -> Mapping[str, Any]:
            await report.running()
            running.set()
            await asyncio.Event().wait()
            return {}

        service = made(database, [ScriptedWork(deaf)], clock=FakeClock())
        await service.start()
        job = await submit(service)
        await running.wait()
        waiting = asyncio.ensure_future(service.wait(job.id))
        await asyncio.sleep(0)
        await service.stop(0.05)
        found = JobRecords(database=database).get(job.id)
        assert found is not None
        assert found.state is JobState.INTERRUPTED
        told = (await asyncio.gather(waiting, return_exceptions=True))[0]
        assert isinstance(told, Unavailable) or told == found  # as it comes; but it does not wait for ever

    run(main)


def test_readers_end_when_the_server_stops(database: Database) -> None:
    async def main() -> None:
        gate = Gate(state="waiting")
        service = made(database, [ScriptedWork(gate)], clock=FakeClock())
        await service.start()
        job = await submit(service)
        await gate.until_entered()

        async def read_all() -> None:
            async for _ in service.subscribe_all(OWNER):
                pass

        async def read_one() -> list[str]:
            return [event.data["state"] async for event in service.subscribe(job.id, 0)]

        readers = [asyncio.ensure_future(read_all()), asyncio.ensure_future(read_one())]
        for _ in range(20):
            await asyncio.sleep(0)
        await service.stop(5)
        await readers[0]
        told = await readers[1]
        assert told is not None
        assert told[-1] == "queued"

    run(main)


class FullDisk(JobRecords):
    """Real records that refuse some final writes, as a full disk does."""

    refusals = 2
    error: Exception = Failed("The disk is full.", code="store.disk_full")

    def advance(self, job: JobId, to: JobState, **fields: Any) -> bool:
        if to is JobState.SUCCEEDED and self.refusals:
            self.refusals -= 1
            raise self.error
        return super().advance(job, to, **fields)


def on_a_full_disk(database: Database) -> tuple[JobsService, FullDisk]:
    service = made(database, [ScriptedWork(done_at_once)], clock=FakeClock())
    full = FullDisk(database=database)
    service._runner._records = full
    return service, full


def test_an_end_that_cannot_be_written_is_tried_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inglenook.jobs.runner._WRITE_AGAIN_S", (0.0,))

    async def main() -> None:
        service, full = on_a_full_disk(database)
        await service.start()
        job = await submit(service)
        assert (await service.wait(job.id)).state is JobState.SUCCEEDED
        assert full.refusals == 0
        await service.stop(1)

    run(main)


def test_an_end_that_is_never_written_frees_whoever_waits_when_the_server_stops(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inglenook.jobs.runner._WRITE_AGAIN_S", (0.001,))

    async def main() -> None:
        service, full = on_a_full_disk(database)
        full.refusals = 1_000_000
        await service.start()
        job = await submit(service)
        waiting = asyncio.ensure_future(service.wait(job.id))
        while full.refusals > 999_995:
            await asyncio.sleep(0)
        assert not waiting.done()
        await service.stop(0.01)
        with pytest.raises(Unavailable):
            await waiting
        async with serving(database, ScriptedWork(done_at_once)) as second:
            assert (await second.wait(job.id)).state is JobState.INTERRUPTED

    run(main)


def test_an_end_that_breaks_the_program_frees_whoever_waits_and_can_be_cancelled(database: Database) -> None:
    async def main() -> None:
        service, full = on_a_full_disk(database)
        full.refusals, full.error = 1, RuntimeError("nobody expected this")
        await service.start()
        job = await submit(service)
        with pytest.raises(Failed) as told:
            await service.wait(job.id)
        assert told.value.code == "job.unwritten"
        assert (await service.cancel(job.id, caller=OWNER)).state is JobState.CANCELLED
        assert (await service.wait((await submit(service)).id)).state is JobState.SUCCEEDED
        await service.stop(1)

    run(main)
