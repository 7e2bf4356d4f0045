# SPDX-License-Identifier: Apache-2.0
"""Devices, places in the queue, footprints, events, comparison: the small parts of experiments."""

import asyncio

import pytest
from tests.unit.studio.training.test_training_model import experiment

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.ids import JobId, PersonId
from inglenook.runtime.scheduler.loop import LeaseStopped
from inglenook.studio.tasks.registry import require_available
from inglenook.studio.training import footprint
from inglenook.studio.training.comparison import compared, metrics_csv, spec_csv
from inglenook.studio.training.devices import allowed
from inglenook.studio.training.errors import NotTrainable
from inglenook.studio.training.model import EpochRecord
from inglenook.studio.training.news import number, seen_epoch
from inglenook.studio.training.slots import Slots
from inglenook.studio.training.work import load_plan
from inglenook.testing.devices import fake_device
from inglenook.wire.studio.spec import Hardware, Hyperparameters, ModelSpec, Step, TrainSpec

GPUS = (fake_device("cuda:0", 10**10), fake_device("cuda:1", 10**10), fake_device("cpu", 10**10))
CPU = (fake_device("cpu", 10**10),)


@pytest.mark.parametrize(
    ("selected", "devices", "found"),
    [
        (["auto"], GPUS, ("cuda:0", "cuda:1")),
        (["auto"], CPU, ("cpu",)),
        (["gpu:1", "cpu"], GPUS, ("cuda:1", "cpu")),
        (["cuda"], GPUS, ("cuda:0", "cuda:1")),
        (["auto"], (fake_device("vulkan:0", 1), *CPU), ("cpu",)),
    ],
)
def test_devices_are_those_that_are_meant_in_that_order(
    selected: list[str], devices: tuple, found: tuple
) -> None:
    assert allowed(selected, devices) == found


def test_a_device_that_is_not_here_is_no_cpu_in_silence() -> None:
    with pytest.raises(NotTrainable, match=r"gpu:0.*\n.*here are: cpu"):
        allowed(["gpu:0"], CPU)


def test_places_go_to_people_in_turn_and_a_stop_leaves_the_queue() -> None:
    async def main() -> None:
        slots, order = Slots(1), []
        gate, begun = asyncio.Event(), asyncio.Event()
        stop = StopToken()

        async def work(person: str, job: str, token: StopToken) -> None:
            async with slots.one(PersonId(person), JobId(job), token):
                order.append(job)
                begun.set()
                await gate.wait()

        tasks = [
            asyncio.create_task(work(person, job, stop if job == "a3" else StopToken()))
            for person, job in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("a", "a4"), ("b", "b1"))
        ]
        await begun.wait()
        assert order == ["a1"]
        assert slots.explain(JobId("a1")) is None
        said = slots.explain(JobId("a2"))
        assert said is not None
        assert said["waiting"] == 4
        assert said["reason"]["text"].startswith("1 training runs")
        stop.stop(StopReason.CANCELLED)
        gate.set()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert order == ["a1", "a2", "b1", "a4"]
        assert [type(one) for one in ended if one is not None] == [LeaseStopped]

    asyncio.run(main())


def spec(batch: int = 32, **model: object) -> TrainSpec:
    return TrainSpec(
        model=ModelSpec(**{"backbone": "resnet50", **model}),
        hyperparameters=Hyperparameters(batch_size=batch),
    )


BACKBONES = {one.name: one for one in require_available("classification").backbones}


def test_a_footprint_grows_with_what_must_be_kept() -> None:
    def bytes_of(one: TrainSpec, side: int = 224) -> int:
        return footprint.estimate(one, BACKBONES[one.model.backbone], side=side)["cuda"]

    usual = bytes_of(spec())
    assert 3.5e9 < usual < 5.5e9  # ResNet-50, 32 pictures, float32: about 4 GB is what people see
    assert bytes_of(spec(64)) > 1.5 * usual
    assert bytes_of(spec(), side=448) > 3 * usual
    assert bytes_of(spec(freeze_backbone=True, pretrained=True)) < usual / 2
    assert bytes_of(spec(freeze_backbone=True, pretrained="auto")) == usual  # without weights it learns
    half = TrainSpec(model=spec().model, hardware=Hardware(precision="bf16-mixed"))
    assert bytes_of(half) < usual


def test_the_side_is_what_the_last_sizing_step_makes() -> None:
    steps = (Step(name="Resize", params={"size": [256, 300]}), Step(name="ToImage"))
    assert footprint.side_px(steps, 224) == 300
    assert footprint.side_px((*steps, Step(name="CenterCrop", params={"size": 200})), 224) == 200
    assert footprint.side_px((), 224) == 224


def test_each_run_is_a_resident_of_its_own_and_all_of_a_kind_learn_one_footprint() -> None:
    one, two = (load_plan("classification", spec(), apart=apart) for apart in ("a", "b"))
    assert one.key != two.key
    assert (one.use, one.model, one.form) == (two.use, two.model, two.form)
    assert one.parkable
    longest = TrainSpec(
        model=ModelSpec(backbone="resnet18", freeze_backbone=True),
        hyperparameters=Hyperparameters(batch_size=256, ema_decay=0.9),
        hardware=Hardware(precision="bf16-mixed"),
    )
    assert len(footprint.form(longest, side=99999)) <= 16


def test_numbers_of_events_rise_over_a_restart() -> None:
    assert number(0, 5) < number(1, 1)
    assert seen_epoch(number(1, 4), 1) == 4
    assert seen_epoch(number(0, 4), 1) == 0
    assert seen_epoch(None, 0) == 0


def test_a_comparison_names_what_differs_and_has_both_curves() -> None:
    one = experiment()
    other = experiment(id="exp-00000002", hyperparameters=Hyperparameters(learning_rate=0.5))
    records = {
        one.id: [EpochRecord(epoch=1, at="", values={"val_loss": 0.5})],
        other.id: [EpochRecord(epoch=1, at="", values={"val_loss": 0.4, "lr": 0.1})],
    }
    said = compared([one, other], records)
    assert said["differences"] == {"hyperparameters.learning_rate": {one.id: 0.001, other.id: 0.5}}
    assert said["curves"]["val_loss"] == {one.id: [[1, 0.5]], other.id: [[1, 0.4]]}
    assert said["curves"]["lr"] == {one.id: [], other.id: [[1, 0.1]]}


def test_tables_have_a_row_an_epoch_and_a_row_a_field() -> None:
    records = [
        EpochRecord(epoch=1, at="t1", values={"loss": 0.5}, not_finite=("acc",)),
        EpochRecord(epoch=2, at="t2", values={"acc": 1.0, "loss": 0.25}, best=True),
    ]
    assert metrics_csv(records) == "epoch,at,best,acc,loss\n1,t1,0,,0.5\n2,t2,1,1.0,0.25\n"
    table = spec_csv(experiment()).splitlines()
    assert table[0] == "field,value"
    assert "hyperparameters.batch_size,32" in table
    assert 'hardware.selected_devices,"[""auto""]"' in table
