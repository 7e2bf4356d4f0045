# SPDX-License-Identifier: Apache-2.0
from typing import Any

import msgspec
import pytest

from inglenook.studio.tasks.parameters import PARAMETERS, wrong_parameter
from inglenook.studio.tasks.registry import require_available
from inglenook.studio.training.checking import check, merged
from inglenook.studio.training.errors import BadSpec
from inglenook.web.studio import steps
from inglenook.wire.studio.spec import ModelSpec, Step, TrainSpec

TASK = require_available("classification")


def test_members_that_are_named_are_replaced_and_the_others_keep_their_value() -> None:
    first = merged(TASK.defaults(), {"hyperparameters": {"batch_size": 4, "optimizer": "sgd"}})
    second = merged(
        first, {"hyperparameters": {"learning_rate": 0.5}, "hardware": {"precision": "bf16-mixed"}}
    )
    assert second.hyperparameters.batch_size == 4
    assert second.hyperparameters.optimizer == "sgd"
    assert second.hyperparameters.learning_rate == 0.5
    assert second.augmentations == first.augmentations
    assert merged(second, {}) == second


def test_a_form_s_texts_are_read_as_what_they_spell() -> None:
    form = {
        "model": {"pretrained": "false", "dropout": "0.3", "unfreeze_epoch": ""},
        "hyperparameters": {"max_epochs": "3", "milestones": ["1", "2"], "learning_rate": ""},
        "hardware": {"selected_devices": ["cpu"]},
    }
    spec = merged(TrainSpec(), form)
    assert spec.model.pretrained is False
    assert spec.model.unfreeze_epoch is None
    assert spec.hyperparameters.max_epochs == 3
    assert spec.hyperparameters.milestones == (1, 2)
    assert spec.hyperparameters.learning_rate == TrainSpec().hyperparameters.learning_rate


def test_dropout_is_one_number_wherever_it_was_said_last() -> None:
    both = merged(TrainSpec(), {"hyperparameters": {"dropout": 0.5}})
    assert (both.model.dropout, both.hyperparameters.dropout) == (0.5, 0.5)
    later = merged(both, {"model": {"dropout": 0.1}})
    assert (later.model.dropout, later.hyperparameters.dropout) == (0.1, 0.1)


@pytest.mark.parametrize(
    ("changes", "field", "hint"),
    [
        ({"model": {"backbon": "x"}}, "model.backbon", "did you mean backbone?"),
        ({"hyperparameters": {"optimizer": "adma"}}, "hyperparameters.optimizer", "did you mean adam?"),
        ({"hardware": {"precision": "16mixed"}}, "hardware.precision", "did you mean 16-mixed?"),
        ({"hyperparameters": {"batch_size": 0}}, "hyperparameters.batch_size", None),
        ({"hyperparameters": {"learning_rate": "fast"}}, "hyperparameters.learning_rate", None),
        ({"hardware": {"selected_devices": ["tpu"]}}, "hardware.selected_devices[0]", None),
        ({"augmentations": {"train": [{"nam": "x"}]}}, "augmentations.train[0]", None),
        ({"model": "resnet18"}, "model", None),
    ],
)
def test_what_cannot_be_read_is_named_with_the_nearest_right_word(
    changes: dict[str, Any], field: str, hint: str | None
) -> None:
    with pytest.raises(BadSpec) as caught:
        merged(TrainSpec(), changes)
    assert caught.value.field == field
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"model": {"backbone": "resnet19"}}, "model.backbone", "did you mean resnet18?"),
        ({"model": {"head": "object_detection"}}, "model.head", "one of classification"),
        (
            {"augmentations": {"train": [{"name": "RandomHorizontalFlop"}]}},
            "augmentations.train[0].name",
            "did you mean RandomHorizontalFlip?",
        ),
        (
            {"augmentations": {"train": [{"name": "ToImage", "params": {"apply_p": 2}}]}},
            "augmentations.train[0].params.apply_p",
            "0 to 1",
        ),
        (
            {"hyperparameters": {"scheduler": "multistep", "milestones": [9], "max_epochs": 5}},
            "hyperparameters.milestones",
            "beyond the last epoch",
        ),
        ({"hyperparameters": {"milestones": [2, 2]}}, "hyperparameters.milestones", "twice"),
        (
            {"model": {"unfreeze_epoch": 9}, "hyperparameters": {"max_epochs": 5}},
            "model.unfreeze_epoch",
            "there are 5",
        ),
        ({"hardware": {"selected_devices": []}}, "hardware.selected_devices", "one device at least"),
        (
            {
                "model": {"backbone": "dinov2_small"},
                "augmentations": {"train": [{"name": "RandomCrop", "params": {"size": 100}}]},
            },
            "augmentations.train",
            "multiples of 14",
        ),
    ],
)
def test_what_the_task_does_not_know_or_does_not_go_together_is_refused(
    changes: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(BadSpec) as caught:
        check(merged(TASK.defaults(), changes), TASK)
    assert caught.value.field == field
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("step", "field", "says"),
    [
        (("Resize", {}), "size", "size is missing"),
        (("Resize", {"size": "big"}), "size", "must be a whole number or a list of 1 or a list of 2"),
        (("Resize", {"size": [16, 16], "interpolation": "cubic"}), "interpolation", "bicubic"),
        (("RandomRotation", {"degrees": -5}), "degrees", "by itself from 0"),
        (("RandomRotation", {"degrees": [20, 10]}), "degrees", "in this order"),
        (("ColorJitter", {"hue": 0.9}), "hue", "from -0.5 to 0.5"),
        (("ColorJitter", {"brigthness": 0.2}), "brigthness", "did you mean brightness?"),
        (("GaussianBlur", {"kernel_size": 4}), "kernel_size", "an odd whole number"),
        (("Normalize", {"mean": [0.5], "std": [0]}), "std", "above 0"),
        (("ToDtype", {"dtype": "int3"}), "dtype", "must be one of float32"),
        (("ToDtype", {"dtype": "float32", "scale": 1}), "scale", "true or false"),
        (("RandomHorizontalFlip", {"p": True}), "p", "from 0 to 1"),
        (("RandomHorizontalFlip", {"p": float("nan")}), "p", "from 0 to 1"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused_by_its_step_and_its_name(
    step: tuple[str, dict[str, Any]], field: str, says: str
) -> None:
    name, params = step
    changes = {"augmentations": {"train": [{"name": "ToImage"}, {"name": name, "params": params}]}}
    with pytest.raises(BadSpec) as caught:
        check(merged(TASK.defaults(), changes), TASK)
    assert caught.value.field == f"augmentations.train[1].params.{field}"
    assert f"Step 2 of the augmentations while it trains ({name})" in str(caught.value)
    assert says in str(caught.value)


def test_every_preset_and_every_transform_s_own_usual_parameters_are_accepted() -> None:
    for spec in (TASK.defaults(), *TASK.presets().values()):
        check(spec, TASK)
    assert set(TASK.transforms) == set(PARAMETERS)
    for name in TASK.transforms:
        usual = {one.name: one.start for one in steps.PARAMS[name] if one.start is not None}
        assert wrong_parameter(Step(name=name, params=usual)) is None, name


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("auto", "auto")])
def test_whether_weights_are_trained_has_three_values_also_in_a_form(text: str, value: Any) -> None:
    assert merged(TrainSpec(), {"model": {"pretrained": text}}).model.pretrained is value
    old = msgspec.json.decode(b'{"backbone": "resnet18", "pretrained": true}', type=ModelSpec)
    assert old.pretrained is True  # a document of before
    with pytest.raises(BadSpec) as caught:
        merged(TrainSpec(), {"model": {"pretrained": "aut"}})
    assert caught.value.hint == "did you mean auto?"
