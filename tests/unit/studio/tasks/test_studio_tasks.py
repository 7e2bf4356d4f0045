# SPDX-License-Identifier: Apache-2.0
import msgspec
import pytest

from inglenook.base.errors import Invalid
from inglenook.studio.projects.model import TASK_NAMES
from inglenook.studio.tasks.registry import TASKS, describe, require_available, require_task
from inglenook.studio.training.checking import check
from inglenook.vision.annotations import Anomaly, Box, Label
from inglenook.wire.studio.backbones import BACKBONES
from inglenook.wire.studio.spec import TrainSpec


def test_every_task_a_project_may_have_is_known_and_one_can_be_trained() -> None:
    assert tuple(TASKS) == TASK_NAMES
    assert [name for name, task in TASKS.items() if task.available] == ["classification"]


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if not task.available])
def test_what_cannot_be_trained_says_so(name: str) -> None:
    with pytest.raises(Invalid, match="cannot be trained by this version"):
        require_available(name)
    assert describe(require_task(name))["available"] is False


def test_a_wrong_name_is_told_the_nearest() -> None:
    with pytest.raises(Invalid) as caught:
        require_task("clasification")
    assert caught.value.hint == "did you mean classification?"


def test_defaults_and_presets_are_configurations_that_the_task_accepts_itself() -> None:
    task = require_available("classification")
    presets = task.presets()
    assert list(presets) == ["quick", "balanced", "best"]
    for spec in (task.defaults(), *presets.values()):
        check(spec, task)
        assert msgspec.convert(msgspec.to_builtins(spec), TrainSpec) == spec


def test_every_network_that_the_worker_builds_can_be_chosen_and_has_been_measured() -> None:
    task = require_available("classification")
    assert [one.name for one in task.backbones] == list(BACKBONES)
    assert all(one.saved_m > 0 for one in task.backbones)


def test_a_picture_s_class_is_that_of_its_first_label() -> None:
    task = require_available("classification")
    classes = ["cat", "dog"]
    labels = [
        Anomaly(is_anomalous=True),
        Label(class_id=7, class_name="dog"),
        Label(class_id=0, class_name="cat"),
    ]
    assert task.label(labels, classes) == "dog"
    assert task.target(labels, classes) == 1
    assert task.target([], classes) is None
    assert task.target([Label(class_id=0, class_name="bird")], classes) is None


def test_other_tasks_tell_a_class_although_they_cannot_be_trained() -> None:
    box = Box(class_id=0, class_name="car", bbox=(0, 0, 1, 1))
    assert require_task("object_detection").label([box], ["car"]) == "car"
    assert require_task("anomaly_detection").label([Anomaly(is_anomalous=False)], []) == "normal"
    with pytest.raises(Invalid):
        require_task("object_detection").target([box], ["car"])
