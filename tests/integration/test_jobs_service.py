# SPDX-License-Identifier: Apache-2.0
"""A service of jobs over a real database: what is promised to whoever submits one."""

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest
from tests.scripted_work import STOPPED, Gate, ScriptedWork, done_at_once, made, run, serving, submit

from inglenook.base.cancel import StopReason
from inglenook.base.errors import Busy, Conflict, Failed, Invalid, NotFound, Unavailable
from inglenook.base.ids import OWNER, JobId, PersonId
from inglenook.base.work import WorkClass
from inglenook.jobs.model import EventType, Job, JobEvent, JobState
from inglenook.jobs.service import JobsService
from inglenook.jobs.work import Report, Stopped
from inglenook.store.database import Database
from inglenook.testing.clock import FakeClock

ANN, BOB = PersonId("ann"), PersonId("bob")


async def events_of(service: JobsService, job: JobId, after: int | None = None) -> list[JobEvent]:
    async with aclosing(service.subscribe(job, after)) as events:
        return [event async for event in events]


def states_in(events: list[JobEvent]) -> list[str]:
    return [event.data["state"] for event in events if event.type is EventType.STATE]


def test_a_job_goes_through_its_states_and_keeps_its_result(database: Database) -> None:
    async def draw(job: Job, report: Report) -> Mapping[str, Any]:
        await report.waiting()
        await report.running()
        await report.progress(0.5, stage="denoise", estimate_s=1.5, detail={"step": 2, "steps": 4})
        await report.preview(picture=0, step=2, media_type="image/png", data=b"\x89")
        await report.result({"picture": "pic_1", "asked": job.payload["n"]})
        await report.notice("The size was rounded.")
        await report.cost(seconds=2.0, byte_seconds=100.0)
        await report.cost(seconds=0.5, byte_seconds=1.0)
        return {"seed": 7}

    async def main() -> None:
        async with serving(database, ScriptedWork(draw)) as service:
            job = await submit(service, n=3)
            assert (job.state, job.event_seq) == (JobState.QUEUED, 1)
            events = await events_of(service, job.id, 0)
            done = await service.wait(job.id)
        assert [(event.seq, event.type.value) for event in events] == list(
            enumerate(["state", "state", "state", "progress", "preview", "result", "notice", "state"], 1)
        )
        assert states_in(events) == ["queued", "waiting", "running", "succeeded"]
        assert events[3].data == {
            "progress": 0.5,
            "stage": "denoise",
            "estimate_s": 1.5,
            "step": 2,
            "steps": 4,
        }
        assert events[4].data == {"picture": 0, "step": 2, "media_type": "image/png", "b64": "iQ=="}
        assert events[5].data == {"picture": "pic_1", "asked": 3}
        assert json.loads(json.dumps(events[-1].data)) == json.loads(json.dumps(service.describe(done)))
        assert done.result == {"seed": 7, "parts": [{"picture": "pic_1", "asked": 3}]}
        assert (done.progress, done.estimate_s, done.event_seq) == (1.0, None, 8)
        assert (done.cost_s, done.cost_byte_s) == (2.5, 101.0)
        assert done.started_at is not None
        assert done.finished_at is not None

    run(main)


def test_fifty_submits_with_one_key_make_one_job(database: Database) -> None:
    async def main() -> None:
        gate = Gate()
        async with serving(database, ScriptedWork(gate), person_limit=3) as service:
            jobs = await asyncio.gather(*(submit(service, key="once", n=1) for _ in range(50)))
            assert len({job.id for job in jobs}) == 1
            assert len(await service.list(OWNER)) == 1
            with pytest.raises(Conflict) as refused:
                await submit(service, key="once", n=2)
            assert refused.value.code == "job.idempotency"
            theirs = await submit(service, key="once", n=2, owner=BOB)
            assert theirs.id != jobs[0].id
            gate.open()
            await service.wait(jobs[0].id)
            assert (await submit(service, key="once", n=1)).state is JobState.SUCCEEDED

    run(main)


def test_a_key_is_remembered_over_a_restart(database: Database) -> None:
    async def main() -> None:
        async with serving(database, ScriptedWork(done_at_once)) as service:
            first = await submit(service, key="once", size=(1, 2))
            await service.wait(first.id)
        async with serving(database, ScriptedWork(done_at_once)) as service:
            assert (await submit(service, key="once", size=(1, 2))).id == first.id

    run(main)


def test_bad_submissions_are_refused_and_keep_nothing(database: Database) -> None:
    async def main() -> None:
        async with serving(database, ScriptedWork(done_at_once)) as service:
            with pytest.raises(Invalid, match="'paint'"):
                await submit(service, kind="paint")
            with pytest.raises(Invalid, match="not JSON"):
                await submit(service, guidance=float("nan"))
            assert await service.list(OWNER) == []

    run(main)


def test_a_full_queue_says_when_to_come_back(database: Database) -> None:
    async def main() -> None:
        gate, clock = Gate(), FakeClock()
        work = ScriptedWork(gate)
        async with serving(database, work, clock=clock, queue_limit=3, person_limit=2) as service:
            jobs = [await submit(service, owner=ANN) for _ in range(2)]
            with pytest.raises(Busy) as mine:
                await submit(service, owner=ANN)
            jobs.append(await submit(service, owner=BOB))
            with pytest.raises(Busy) as all_full:
                await submit(service, owner=BOB)
            assert (mine.value.code, all_full.value.code) == ("job.person_queue_full", "job.queue_full")
            assert mine.value.retry_after_s == 5.0
            await gate.until_entered(3)
            clock.advance(42)
            gate.open()
            for job in jobs:  # in the database an end stands a moment before the place is free
                assert (await service.wait(job.id)).state is JobState.SUCCEEDED
            gate = work.script = Gate()
            for _ in range(2):
                await submit(service, owner=ANN)
            with pytest.raises(Busy) as learned:
                await submit(service, owner=ANN)
            assert learned.value.retry_after_s == 42.0

    run(main)


def test_a_cancelled_submission_gives_its_place_back(database: Database) -> None:
    async def main() -> None:
        async with serving(database, ScriptedWork(Gate()), person_limit=1) as service:
            for _ in range(3):
                job = await submit(service)
                await service.cancel(job.id, caller=OWNER)
            assert (await service.counts())[JobState.CANCELLED] == 3

    run(main)


def test_errors_of_the_work_are_what_a_person_reads(database: Database) -> None:
    async def fail(_job: Job, report: Report) -> Mapping[str, Any]:
        await report.running()
        await report.result({"picture": 1})
        raise Failed("The worker was killed by the system (signal 9).", code="child.killed", hint="try again")

    async def main() -> None:
        async with serving(database, ScriptedWork(fail)) as service:
            done = await service.wait((await submit(service)).id)
        assert done.state is JobState.FAILED
        assert done.error is not None
        assert (done.error.code, done.error.kind, done.error.hint) == ("child.killed", "failed", "try again")
        assert "signal 9" in done.error.message
        assert done.result == {"parts": [{"picture": 1}]}

    run(main)


def test_a_mistake_of_the_program_ends_one_job_and_is_found_in_the_log(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def break_down(job: Job, _report: Report) -> Mapping[str, Any]:
        if job.payload["n"] == 1:
            raise ZeroDivisionError("secret detail")
        return {}

    async def main() -> None:
        async with serving(database, ScriptedWork(break_down)) as service:
            broken = await service.wait((await submit(service, n=1)).id)
            fine = await service.wait((await submit(service, n=2)).id)
        assert fine.state is JobState.SUCCEEDED
        assert (broken.state, broken.error and broken.error.code) == (JobState.FAILED, "internal")
        assert broken.error is not None
        assert "secret" not in broken.error.message
        incident = broken.error.message.rpartition("incident ")[2].rstrip(").")
        assert [record for record in caplog.records if incident in record.getMessage() and record.exc_info]

    with caplog.at_level(logging.ERROR):
        run(main)


def test_a_result_that_is_not_json_fails_its_job(database: Database) -> None:
    async def main() -> None:
        async def odd(_job: Job, _report: Report) -> Mapping[str, Any]:
            return {"value": object()}

        async with serving(database, ScriptedWork(odd)) as service:
            done = await service.wait((await submit(service)).id)
        assert done.state is JobState.FAILED

    run(main)


@pytest.mark.parametrize("state", ["queued", "waiting", "running"])
def test_a_cancel_answers_with_the_receipt_of_the_work(database: Database, state: str) -> None:
    async def main() -> None:
        gate = Gate(state=state)
        async with serving(database, ScriptedWork(gate)) as service:
            job = await submit(service)
            await gate.until_entered()
            cancelled = await service.cancel(job.id, caller=OWNER)
            assert (cancelled.state, cancelled.receipt) == (JobState.CANCELLED, STOPPED)
            assert cancelled.finished_at is not None
            with pytest.raises(Conflict) as late:
                await service.cancel(job.id, caller=OWNER)
            assert late.value.code == "job.final"

    run(main)


def test_a_queued_job_is_cancelled_at_once_and_never_begins(database: Database) -> None:
    async def main() -> None:
        gate = Gate()
        work = ScriptedWork(gate)
        async with serving(database, work, max_active=1) as service:
            first, second = await submit(service), await submit(service)
            await gate.until_entered()
            cancelled = await service.cancel(second.id, caller=OWNER)
            assert cancelled.state is JobState.CANCELLED
            assert cancelled.receipt is not None
            assert "queue" in cancelled.receipt.how
            assert states_in(await events_of(service, second.id, 0)) == ["queued", "cancelled"]
            gate.open()
            await service.wait(first.id)
            assert work.begun == [first.id]

    run(main)


def test_cancels_that_race_with_the_beginning_all_end_the_job(database: Database) -> None:
    async def main() -> None:
        async with serving(database, ScriptedWork(Gate())) as service:
            for _ in range(20):
                job = await submit(service)
                answers = await asyncio.gather(
                    *(service.cancel(job.id, caller=OWNER) for _ in range(10)), return_exceptions=True
                )
                jobs = [answer for answer in answers if isinstance(answer, Job)]
                assert jobs
                assert all(answer.state is JobState.CANCELLED and answer.receipt for answer in jobs)
                assert all(isinstance(answer, Job | Conflict) for answer in answers)
                assert states_in(await events_of(service, job.id, 0)).count("cancelled") == 1

    run(main)


def test_work_that_does_not_stop_in_time_is_told_as_it_is(database: Database) -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def deaf(_job: Job, report: Report) -> Mapping[str, Any]:
            await report.running()
            await release.wait()
            return {"done": True}

        work = ScriptedWork(deaf)
        async with serving(database, work, cancel_wait_s=0.01) as service:
            job = await submit(service)
            await work.until_begun(1)
            assert not (await service.cancel(job.id, caller=OWNER)).is_final
            release.set()
            assert (await service.wait(job.id)).state is JobState.SUCCEEDED

    run(main)


def test_a_client_that_has_gone_cancels_its_job(database: Database) -> None:
    seen = []

    async def main() -> None:
        async def look(_job: Job, report: Report) -> Mapping[str, Any]:
            await report.running()
            seen.append(await report.stop.wait())
            raise Stopped(STOPPED)

        work = ScriptedWork(look)
        async with serving(database, work) as service:
            job = await submit(service)
            await work.until_begun(1)
            gone = await service.cancel(job.id, caller=OWNER, reason=StopReason.CLIENT_GONE)
        assert gone.state is JobState.CANCELLED
        assert seen == [StopReason.CLIENT_GONE]

    run(main)


def test_a_lease_that_is_refused_because_of_a_cancel_counts_as_stopped(database: Database) -> None:
    async def main() -> None:
        clock = FakeClock()

        async def gives_up(_job: Job, report: Report) -> Mapping[str, Any]:
            await report.waiting()
            await report.stop.wait()
            clock.advance(3)
            raise Stopped.__mro__[1]("It left the line for the accelerator.")

        work = ScriptedWork(gives_up)
        async with serving(database, work, clock=clock) as service:
            job = await submit(service)
            await work.until_begun(1)
            cancelled = await service.cancel(job.id, caller=OWNER)
        assert cancelled.state is JobState.CANCELLED
        assert cancelled.receipt is not None
        assert (cancelled.receipt.how, cancelled.receipt.seconds) == (
            "It left the line for the accelerator.",
            3.0,
        )

    run(main)


def test_nobody_sees_or_stops_another_persons_job(database: Database) -> None:
    async def main() -> None:
        gate = Gate()
        async with serving(database, ScriptedWork(gate)) as service:
            job = await submit(service, owner=ANN)
            for act in (
                service.get(job.id, BOB),
                service.cancel(job.id, caller=BOB),
                service.retry(job.id, caller=BOB),
                service.list(BOB, before=job.id),
                service.get(JobId("job_nothing"), ANN),
                service.wait(JobId("job_nothing")),
                events_of(service, JobId("job_nothing")),
            ):
                with pytest.raises(NotFound) as refused:
                    await act
                assert refused.value.code == "job.not_found"
            assert await service.list(BOB) == []
            assert [one.id for one in await service.list(ANN)] == [job.id]

    run(main)


def test_people_take_turns_when_not_all_can_be_begun(database: Database) -> None:
    async def main() -> None:
        gate = Gate()
        work = ScriptedWork(gate)
        async with serving(database, work, max_active=2) as service:
            ann = [await submit(service, owner=ANN) for _ in range(5)]
            bob = [await submit(service, owner=BOB) for _ in range(2)]
            await gate.until_entered(2)
            assert work.begun == [ann[0].id, ann[1].id]
            gate.open()
            for job in [*ann, *bob]:
                await service.wait(job.id)
        assert work.begun[2] == bob[0].id  # the first place that became free
        for jobs in (ann, bob):
            mine = [job.id for job in jobs]
            assert [job for job in work.begun if job in mine] == mine

    run(main)


def test_training_in_the_queue_does_not_stand_before_somebody_who_waits(database: Database) -> None:
    async def main() -> None:
        gate = Gate()
        async with serving(database, ScriptedWork(gate), max_active=1) as service:
            for _ in range(3):
                await submit(service, work_class=WorkClass.TRAINING)
            await gate.until_entered()
            quick = await submit(service, work_class=WorkClass.INTERACTIVE)
            await gate.until_entered()
            assert (await service.get(quick.id, OWNER)).state is JobState.RUNNING

    run(main)


def test_text_that_no_database_takes_is_mended_before_anybody_sees_it(database: Database) -> None:
    async def main() -> None:
        async with serving(database, ScriptedWork(done_at_once)) as service:
            job = await service.submit(
                kind="scripted",
                owner=OWNER,
                work_class=WorkClass.BATCH,
                title="a\x00b\ud800c",
                payload={"prompt": "x\ud800y\x00z"},
            )
            assert (job.title, job.payload) == ("a\ufffdb\ufffdc", {"prompt": "x\ufffdy\x00z"})
            done = await service.wait(job.id)
            assert (done.title, done.payload) == (job.title, job.payload)

    run(main)


def test_a_long_queue_is_not_a_task_each_and_tells_each_its_place(database: Database) -> None:
    async def main() -> None:
        gate = Gate()
        async with serving(
            database, ScriptedWork(gate), max_active=2, queue_limit=500, person_limit=500
        ) as service:
            jobs = [await submit(service, n=n) for n in range(300)]
            await gate.until_entered(2)
            assert len(asyncio.all_tasks()) < 10
            assert service.describe(jobs[299])["explanation"]["position"] == 298
            assert service.describe(jobs[2])["explanation"]["reason"]["kind"] == "queue"

    run(main)


def test_progress_is_sent_at_most_every_quarter_second_and_the_last_is_not_lost(database: Database) -> None:
    async def main() -> None:
        clock = FakeClock()

        async def steps(_job: Job, report: Report) -> Mapping[str, Any]:
            await report.running()
            for step in range(1, 101):
                await report.progress(step / 200, stage="denoise", detail={"step": step})
                clock.advance(0.01)
            return {}

        async with serving(database, ScriptedWork(steps), clock=clock) as service:
            job = await submit(service)
            await service.wait(job.id)
            told = [
                event for event in await events_of(service, job.id, 0) if event.type is EventType.PROGRESS
            ]
        assert [event.data["step"] for event in told] == [1, 26, 51, 76, 100]

    run(main)


def test_progress_that_is_held_back_is_sent_by_the_pulse(database: Database) -> None:
    async def main() -> None:
        clock, gate = FakeClock(), Gate()

        async def steps(job: Job, report: Report) -> Mapping[str, Any]:
            for step in (1, 2):
                await report.progress(step / 4, stage="denoise", detail={"step": step})
            return await gate(job, report)

        async with serving(database, ScriptedWork(steps), clock=clock) as service:
            job = await submit(service)
            await gate.until_entered()
            await service.pulse()
            assert (await service.get(job.id, OWNER)).progress == 0.25
            clock.advance(0.25)
            await service.pulse()
            assert (await service.get(job.id, OWNER)).progress == 0.5

    run(main)


def test_progress_never_goes_back_and_stays_in_its_bounds(database: Database) -> None:
    async def main() -> None:
        async def odd(_job: Job, report: Report) -> Mapping[str, Any]:
            await report.running()
            for fraction in (0.5, 0.2, float("nan"), -1.0, 7.0):
                await report.progress(fraction, stage="x", detail={})
            return {}

        async with serving(database, ScriptedWork(odd), progress_every_s=0.0) as service:
            job = await submit(service)
            told = [
                e.data["progress"]
                for e in await events_of(service, job.id, 0)
                if e.type is EventType.PROGRESS
            ]
        assert told == [0.5, 0.5, 0.5, 0.5, 1.0]

    run(main)


def test_a_clock_that_is_moved_back_changes_no_order_and_no_duration(database: Database) -> None:
    async def main() -> None:
        clock, gate = FakeClock(), Gate()
        async with serving(database, ScriptedWork(gate), clock=clock, person_limit=3) as service:
            first = await submit(service)
            await gate.until_entered()
            clock.advance(7)
            clock.set_wall(clock.now() - timedelta(days=400))
            second = await submit(service)
            assert [job.id for job in await service.list(OWNER)] == [second.id, first.id]
            gate.open()
            done = await service.wait(first.id)
            await service.wait(second.id)
            assert done.started_at is not None
            assert done.finished_at is not None
            assert done.finished_at < done.started_at
        restarted = made(database, [ScriptedWork(done_at_once)], clock=clock)
        await restarted.start()
        assert (await restarted.wait(first.id)).state is JobState.SUCCEEDED
        await restarted.stop(1)

    run(main)


def test_why_a_job_waits_is_in_its_description_and_in_the_news(database: Database) -> None:
    async def main() -> None:
        gate = Gate(state="waiting")
        work = ScriptedWork(gate)
        async with serving(database, work) as service:
            job = await submit(service)
            await gate.until_entered()
            work.explanations[job.id] = {"position": 2, "reason": {"kind": "memory"}}
            now = await service.get(job.id, OWNER)
            assert service.describe(now)["explanation"] == {"position": 2, "reason": {"kind": "memory"}}
            async with aclosing(service.subscribe(job.id, now.event_seq)) as events:
                coming = asyncio.ensure_future(anext(events))
                await asyncio.sleep(0)
                await service.pulse()
                told = await coming
            assert (told.type, told.data) == (EventType.WAIT, {"position": 2, "reason": {"kind": "memory"}})
            gate.open()
            assert service.describe(await service.wait(job.id))["explanation"] is None

    run(main)


def test_the_page_hears_of_all_jobs_of_its_person(database: Database) -> None:
    async def main() -> None:
        gate = Gate()
        async with serving(database, ScriptedWork(gate)) as service:
            old = await submit(service, owner=ANN)
            await gate.until_entered()
            async with aclosing(service.subscribe_all(ANN)) as news:
                first = await anext(news)
                assert (first.job, first.data["state"]) == (old.id, "running")
                await submit(service, owner=BOB)
                new = await submit(service, owner=ANN)
                gate.open()
                finals = set()
                async for event in news:
                    if event.type is EventType.STATE and event.data["state"] == "succeeded":
                        finals.add(event.job)
                        if len(finals) == 2:
                            break
            assert finals == {old.id, new.id}

    run(main)


def test_a_retry_makes_a_new_job_with_the_same_payload(database: Database) -> None:
    async def fail_first(job: Job, _report: Report) -> Mapping[str, Any]:
        if not failed:
            failed.append(job.id)
            raise Failed("No luck.")
        return {}

    failed: list[JobId] = []

    async def main() -> None:
        async with serving(database, ScriptedWork(fail_first)) as service:
            first = await submit(service, key="k", prompt="fox")
            await service.wait(first.id)
            second = await service.retry(first.id, caller=OWNER)
            assert second.id != first.id
            assert (second.payload, second.title) == (first.payload, first.title)
            assert (await service.wait(second.id)).state is JobState.SUCCEEDED
            with pytest.raises(Conflict) as refused:
                await service.retry(second.id, caller=OWNER)
            assert refused.value.code == "job.not_retryable"

    run(main)


def test_nothing_is_taken_before_the_start_and_after_the_stop(database: Database) -> None:
    async def main() -> None:
        service = made(database, [ScriptedWork(done_at_once)], clock=FakeClock())
        with pytest.raises(Unavailable):
            await submit(service)
        await service.start()
        await service.stop(1)
        await service.stop(1)
        with pytest.raises(Unavailable) as refused:
            await submit(service)
        assert refused.value.code == "job.stopping"

    run(main)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_has_a_size(database: Database, limit: int) -> None:
    async def main() -> None:
        async with serving(database, ScriptedWork(done_at_once)) as service:
            with pytest.raises(Invalid, match=str(limit)):
                await service.list(OWNER, limit=limit)

    run(main)
