# SPDX-License-Identifier: Apache-2.0
"""Reading ahead: what is loaded next, while it waits; never more than fits, never for nothing."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.runtime.bench import Bench, run, until
from tests.unit.runtime.machine import plan_of

from inglenook.runtime.contracts import LoadPlan
from inglenook.runtime.readahead import SPARED_BYTES, WINDOW_BYTES, ReadAhead, SystemReader
from inglenook.runtime.scheduler.ledger import Ledger
from inglenook.runtime.scheduler.loop import Scheduler
from inglenook.runtime.scheduler.policy import Rules
from inglenook.testing.devices import FakeBook, fake_device
from inglenook.testing.readers import FakeReader


def plan_with(path: Path, size: int, *, model: str = "next") -> LoadPlan:
    """A sparse file: it has the size, and takes no disk."""
    with path.open("wb") as file:
        file.truncate(size)
    return replace(plan_of(model, 6), files=(path,))


def test_a_file_is_read_from_its_beginning_to_its_end_in_windows(tmp_path: Path) -> None:
    reader = FakeReader()
    plan = plan_with(tmp_path / "a", 2 * WINDOW_BYTES + 5)
    done: list[int] = []

    async def main() -> None:
        ahead = ReadAhead(reader, finished=lambda _, read: done.append(read))
        ahead.want(plan)
        await until(lambda: done)
        await ahead.close()

    run(main())
    assert [(offset, length) for _, offset, length in reader.read_parts] == [
        (0, WINDOW_BYTES),
        (WINDOW_BYTES, WINDOW_BYTES),
        (2 * WINDOW_BYTES, 5),
    ]
    assert done == [2 * WINDOW_BYTES + 5]


def test_no_more_is_read_than_memory_has_room_for(tmp_path: Path) -> None:
    reader = FakeReader(available_bytes=SPARED_BYTES + 2 * WINDOW_BYTES)
    plan = plan_with(tmp_path / "a", 5 * WINDOW_BYTES)

    async def main() -> None:
        ahead = ReadAhead(reader)
        ahead.want(plan)
        await until(lambda: ahead.idle)
        await ahead.close()

    run(main())
    assert len(reader.read_parts) == 2


def test_reading_ends_when_the_wish_goes(tmp_path: Path) -> None:
    """Deterministic because the reader stands still in its first window until the wish has gone."""
    reader = FakeReader()
    reader.gate = threading.Event()
    plan = plan_with(tmp_path / "a", 3 * WINDOW_BYTES)

    async def main() -> None:
        ahead = ReadAhead(reader)
        ahead.want(plan)
        await until(lambda: reader.begun)
        ahead.want(None)
        assert reader.gate is not None
        reader.gate.set()
        await until(lambda: ahead.idle)
        await ahead.close()

    run(main())
    assert len(reader.read_parts) == 1


def test_the_same_wish_said_again_does_not_begin_again(tmp_path: Path) -> None:
    reader = FakeReader()
    plan = plan_with(tmp_path / "a", WINDOW_BYTES)

    async def main() -> None:
        ahead = ReadAhead(reader)
        for _ in range(3):
            ahead.want(plan)
            await until(lambda: ahead.idle)
        ahead.want(None)
        ahead.want(plan)  # another turn: it may have been pushed out
        await until(lambda: ahead.idle)
        await ahead.close()

    run(main())
    assert len(reader.read_parts) == 2


def test_a_file_on_another_machine_is_read_once(tmp_path: Path) -> None:
    reader = FakeReader(remote=True)
    plan = plan_with(tmp_path / "a", WINDOW_BYTES)

    async def main() -> None:
        ahead = ReadAhead(reader)
        for wish in (plan, None, plan):
            ahead.want(wish)
            await until(lambda: ahead.idle)
        plan_with(tmp_path / "a", 2 * WINDOW_BYTES)  # another file by now
        for wish in (None, plan):
            ahead.want(wish)
            await until(lambda: ahead.idle)
        await ahead.close()

    run(main())
    assert [length for _, _, length in reader.read_parts] == [WINDOW_BYTES, WINDOW_BYTES, WINDOW_BYTES]


def test_a_file_that_cannot_be_read_is_left_to_the_load_to_complain_of(tmp_path: Path) -> None:
    reader = FakeReader()
    plan = replace(plan_of("next", 6), files=(tmp_path / "gone",))

    async def main() -> None:
        ahead = ReadAhead(reader)
        ahead.want(plan)
        await until(lambda: ahead.idle)
        await ahead.close()

    run(main())
    assert reader.read_parts == []


@pytest.mark.parametrize("able", [True, False])
def test_the_systems_own_reader_reads_with_and_without_a_call_for_it(
    tmp_path: Path, able: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not able:
        monkeypatch.delattr("os.posix_fadvise", raising=False)
    path = tmp_path / "a"
    path.write_bytes(bytes(10_000))
    reader = SystemReader()
    reader.read(path, 0, 10_000)
    reader.read(path, 9_000, 1_000)
    assert reader.available_bytes() > 0
    assert not reader.is_remote(path)
    with pytest.raises(FileNotFoundError):
        reader.read(tmp_path / "gone", 0, 1)


# -- in the loop ----------------------------------------------------------------------------------------


def bench_with(reader: FakeReader) -> Bench:
    made = Bench([fake_device("cuda:0", 10)], rules=Rules(), engines=None, book=None)
    made.scheduler = Scheduler(
        engines={made.engine.name: made.engine},
        ledger=Ledger(made.devices),
        rules=Rules(),
        clock=made.clock,
        probe=made.probe,
        book=FakeBook(),
        stop_grace_s=5.0,
        ahead=ReadAhead(reader),
    )
    return made


def test_the_next_models_file_is_read_while_the_one_before_it_is_at_work(tmp_path: Path) -> None:
    reader = FakeReader()
    following = plan_with(tmp_path / "b", WINDOW_BYTES)

    async def main() -> None:
        b = bench_with(reader)
        loop = asyncio.create_task(b.scheduler.run())
        lease = await b.leased(plan_of("a", 6))
        assert reader.read_parts == []
        waiting = b.ask(following)
        await until(lambda: reader.read_parts)
        assert b.models() == {"a": "ready"}, "it was read before anything was unloaded"
        lease.release()
        await until(lambda: "next" in b.engine.started())
        b.engine.of("next").load()
        (await waiting).release()
        await b.scheduler.close()
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)

    run(main())
    assert [path for path, _, _ in reader.read_parts] == [tmp_path / "b"]


def test_the_next_models_file_is_read_while_an_idle_one_is_unloaded(tmp_path: Path) -> None:
    reader = FakeReader()
    following = plan_with(tmp_path / "b", WINDOW_BYTES)

    async def main() -> None:
        b = bench_with(reader)
        loop = asyncio.create_task(b.scheduler.run())
        (await b.leased(plan_of("a", 6))).release()
        b.engine.of("a").stubborn = True
        waiting = b.ask(following)
        await until(lambda: reader.read_parts)
        assert b.models() == {"a": "draining"}
        b.engine.of("a").let_go()
        await until(lambda: "next" in b.engine.started())
        b.engine.of("next").load()
        (await waiting).release()
        await b.scheduler.close()
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)

    run(main())
