# SPDX-License-Identifier: Apache-2.0
"""Learned footprints in the database, on each kind of database."""

import pytest

from inglenook.base.ids import ModelId
from inglenook.runtime.contracts import FootprintBook, FootprintKey
from inglenook.runtime.records import FootprintRecords
from inglenook.store.database import Database
from inglenook.testing.clock import FakeClock
from inglenook.testing.devices import FakeBook

GPU = FootprintKey("diffusers", ModelId("maker/model with ünïcode"), "cuda", 20)


@pytest.fixture(params=["records", "fake"])
def book(request: pytest.FixtureRequest, database: Database) -> FootprintBook:
    """Both keep the same promises; the fake has no use for the database."""
    if request.param == "fake":
        return FakeBook()
    return FootprintRecords(database=database, clock=FakeClock())


def test_nothing_is_known_at_first(book: FootprintBook) -> None:
    assert book.learned() == {}


def test_the_newest_is_kept_and_zero_leaves_a_value_as_it_was(book: FootprintBook) -> None:
    book.learn(GPU, peak_bytes=0, load_s=2.5)
    assert book.learned() == {GPU: (0, 2.5)}
    book.learn(GPU, peak_bytes=12 * 1024**3, load_s=0.0)
    assert book.learned() == {GPU: (12 * 1024**3, 2.5)}
    book.learn(GPU, peak_bytes=1, load_s=0.25)
    assert book.learned() == {GPU: (1, 0.25)}


def test_kinds_of_device_scales_models_and_engines_are_kept_apart(book: FootprintBook) -> None:
    keys = [
        GPU,
        FootprintKey(GPU.engine, GPU.model, "cpu", GPU.scale),
        FootprintKey(GPU.engine, GPU.model, GPU.device_kind, 0),
        FootprintKey(GPU.engine, ModelId("other"), GPU.device_kind, GPU.scale),
        FootprintKey("sdcpp", GPU.model, GPU.device_kind, GPU.scale),
    ]
    for number, key in enumerate(keys, start=1):
        book.learn(key, peak_bytes=number, load_s=float(number))
    assert book.learned() == {key: (n, float(n)) for n, key in enumerate(keys, start=1)}


def test_what_was_learned_outlives_the_object(database: Database) -> None:
    FootprintRecords(database=database, clock=FakeClock()).learn(GPU, peak_bytes=2**40, load_s=1.0)
    assert FootprintRecords(database=database, clock=FakeClock()).learned() == {GPU: (2**40, 1.0)}
