# SPDX-License-Identifier: Apache-2.0
"""The studio's forms and tables, from the declarations that they are made of."""

from pathlib import Path

import msgspec
import pytest

from inglenook.studio.tasks.classification import Classification
from inglenook.studio.training.model import Experiment, Kept, Status
from inglenook.web.studio import spec_form, steps
from inglenook.web.studio.evaluations import interval, matrix_of, percent
from inglenook.web.studio.training import STATUS_WORDS, goes, seconds_words
from inglenook.wire.studio.spec import Augmentations, Hardware, Hyperparameters, ModelSpec, TrainSpec
from inglenook.wire.studio.weights import WeightsHere

TASK = Classification()
DEVICES = (("auto", "automatic"), ("cpu", "processor"))
Fields = dict[str, spec_form.Field]


@pytest.fixture(scope="module")
def fields() -> Fields:
    found = spec_form.sections(TASK.defaults(), TASK, DEVICES)
    return {field.name: field for section in found for field in section.fields}


def test_every_field_of_a_configuration_is_in_the_form_once(fields: Fields) -> None:
    parts = {"model": ModelSpec, "hyperparameters": Hyperparameters, "hardware": Hardware}
    declared = {f"{part}.{name}" for part, kind in parts.items() for name in kind.__struct_fields__}
    assert set(fields) == declared - spec_form.ALIASES
    assert sum(len(section[2]) for section in spec_form.SECTIONS) == len(fields)
    assert set(TrainSpec.__struct_fields__) - set(parts) == {"augmentations"}


def test_ranges_and_values_are_those_of_the_declaration(fields: Fields) -> None:
    rate = fields["hyperparameters.learning_rate"]
    assert (rate.kind, rate.low, rate.high, rate.value) == ("number", 0, None, 0.001)
    assert rate.range == "above 0"
    assert fields["hyperparameters.seed"].range == "0 to 4294967295"
    assert fields["hyperparameters.gamma"].range == "above 0 and below 1"
    assert fields["hyperparameters.batch_size"].kind == "whole"
    assert fields["model.unfreeze_epoch"].value is None
    assert fields["hyperparameters.deterministic"].kind == "switch"
    assert (fields["model.pretrained"].kind, fields["model.pretrained"].value) == ("choice", "auto")
    assert fields["hyperparameters.milestones"].kind == "list"


def test_choices_are_those_of_the_declaration_and_of_the_task(fields: Fields) -> None:
    assert [it[0] for it in fields["hyperparameters.optimizer"].options] == ["adam", "adamw", "sgd"]
    assert [it[0] for it in fields["model.backbone"].options] == [it.name for it in TASK.backbones]
    assert fields["hardware.selected_devices"].options == DEVICES


def test_a_field_that_depends_on_another_names_one_that_is_there(fields: Fields) -> None:
    for field in fields.values():
        if not field.when:
            continue
        name, _, values = field.when.partition("=")
        options = {it[0] for it in fields[name].options} or {"true", "false"}
        assert set(values.split()) <= options, field.name


def test_every_transform_of_the_task_can_be_filled_in() -> None:
    declared = steps.declared(TASK.transforms)
    assert [one["name"] for one in declared] == list(TASK.transforms)
    assert all(one["params"][-1]["name"] == "apply_p" for one in declared)


@pytest.mark.parametrize("preset", ["quick", "balanced", "best"])
def test_no_parameter_of_a_preset_is_unknown_to_the_form(preset: str) -> None:
    spec = TASK.presets()[preset]
    for one in (*spec.augmentations.train, *spec.augmentations.val):
        known = {param.name for param in steps.PARAMS[one.name]} | {"apply_p"}
        assert set(one.params) <= known


def test_a_step_is_read_as_words() -> None:
    assert steps.in_words("RandomResizedCrop", {"size": 224, "scale": [0.8, 1.0]}) == (
        "Size (px): 224, Share of the area: 0.8 / 1"
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [(True, "yes"), (None, "none"), ((), "none"), (0.0001, "0.0001"), (("auto", "cpu"), "auto, cpu")],
)
def test_a_settled_value_is_read_as_words(value: object, words: str) -> None:
    assert spec_form.shown(value) == words


def test_every_status_has_words() -> None:
    assert set(STATUS_WORDS) == set(Status)


@pytest.mark.parametrize(("seconds", "words"), [(3.14, "3.14 s"), (200, "3 min"), (7500, "2 h 5 min")])
def test_durations_are_said_in_the_unit_that_fits(seconds: float, words: str) -> None:
    assert seconds_words(seconds) == words


def test_what_a_restart_takes_is_said_with_numbers() -> None:
    kept = Kept(
        file="checkpoints/best.ckpt", epoch=2, batch=0, size_bytes=2048, written_at="2026-01-01T00:00:00Z"
    )
    one = Experiment(
        id="exp-1",
        name="One",
        created_at="2026-01-01T00:00:00Z",
        split_name="first",
        model=ModelSpec(),
        hyperparameters=Hyperparameters(),
        augmentations=Augmentations(),
        hardware=Hardware(),
        epoch=2,
        checkpoints={"best": kept},
    )
    assert goes(one) == "the records of 2 epochs, 1 checkpoint (2 KiB), its log and its evaluations"
    assert goes(msgspec.structs.replace(one, epoch=1, checkpoints={})).startswith(
        "the records of 1 epoch, its"
    )


def test_a_cell_says_its_share_of_the_row() -> None:
    rows = matrix_of(("cat", "dog"), ((3, 1), (0, 0)))
    assert [(cell.count, cell.share, cell.level, cell.right) for cell in rows[0][1]] == [
        (3, "75%", 4, True),
        (1, "25%", 1, False),
    ]
    assert [cell.share for cell in rows[1][1]] == ["–", "–"]


def test_a_figure_that_is_not_defined_is_a_dash() -> None:
    from inglenook.studio.evaluation.model import Estimate

    assert percent(None) == "–"
    assert interval(Estimate(value=0.5)) == ""
    assert interval(Estimate(value=0.5, low=0.25, high=0.75)) == "25.0% to 75.0% (95 %)"


def test_it_is_told_whether_trained_weights_are_here(tmp_path: Path) -> None:
    offline = WeightsHere(models=(tmp_path,), hub=False)
    assert offline.said("resnet18") == (
        "No trained weights are here: put resnet18.safetensors into the models folder."
    )
    assert WeightsHere(models=(tmp_path,), hub=True).said("resnet18") == (
        "Trained weights are not here; they would be fetched, licence BSD-3-Clause."
    )
    assert offline.said("small_cnn") == "Nobody offers trained weights for it."
    (tmp_path / "resnet18-f37072fd.pth").touch()
    assert offline.said("resnet18") == "Trained weights are here: resnet18-f37072fd.pth."


def test_it_is_told_what_a_run_would_begin_with_by_what_is_asked_and_what_is_here(tmp_path: Path) -> None:
    offline = WeightsHere(models=(tmp_path,), hub=False)
    without = offline.outlook("resnet18")
    assert without["auto"].endswith("into the models folder. It would begin with random ones.")
    assert without["true"].endswith("into the models folder. It would not begin.")
    assert without["false"] == "It begins with random ones."
    assert "fetched" in WeightsHere(models=(tmp_path,), hub=True).outlook("resnet18")["auto"]
    (tmp_path / "resnet18-f37072fd.pth").touch()
    assert offline.outlook("resnet18")["auto"] == "Trained weights are here: resnet18-f37072fd.pth."
    assert offline.outlook("resnet18")["true"] == offline.outlook("resnet18")["auto"]
    assert offline.outlook("resnet18")["false"] == "It begins with random ones."
