# SPDX-License-Identifier: Apache-2.0
"""Splits: every method, what is said about one, and what later changes of the data set do to it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.studio_bench import ANNA, add, fill, ids, label, project, studio_in

from inglenook.base.errors import Conflict, Invalid
from inglenook.studio.datasets.model import ImageQuery, ImageRecord
from inglenook.studio.errors import DatasetNotImported, ImageNotFound, InUse, SplitNotFound
from inglenook.studio.splits.model import Options, Plan, Ratios
from inglenook.studio.splits.planning import plan_parts
from inglenook.studio.studio import Studio
from inglenook.vision.annotations import Annotation, Anomaly

THIRDS = Ratios(train=0.8, val=0.1, test=0.1)


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    with studio_in(tmp_path) as made:
        yield made


@pytest.fixture
def pets(studio: Studio) -> str:
    made = project(studio)
    fill(studio, made.id, {"cats": 20, "dogs": 20})
    return made.id


def picture(place: int, annotations: Sequence[Annotation] = label("cats"), **more: Any) -> ImageRecord:
    given = {
        "id": f"img-{place:012x}",
        "filename": f"{place:04}.png",
        "original": f"{place:04}.png",
        "sha256": f"{place:064x}",
    }
    return ImageRecord(
        width=8, height=8, size_bytes=1, annotations=tuple(annotations), added_at="", **given | more
    )


def parts(plan: Plan, records: Sequence[ImageRecord], task: str = "classification") -> Any:
    return plan_parts(plan, records, task=task, classes=("cats", "dogs"), dataset_version=1)


# -- methods ---------------------------------------------------------------------------------------------


def test_twenty_and_twenty_at_80_10_10_are_32_4_4(studio: Studio, pets: str) -> None:
    preview = studio.splits.preview(pets, Plan(ratios=THIRDS, seed=42))
    assert preview.parts[0].stats == {"train": 32, "val": 4, "test": 4, "none": 0}
    each = {"train": 16, "val": 2, "test": 2, "none": 0}
    assert preview.parts[0].class_distribution == {"cats": each, "dogs": each}
    assert preview.warnings == ()
    (made,) = studio.splits.create(pets, "First", Plan(ratios=THIRDS, seed=42), by=ANNA)
    assert studio.splits.assignments(pets, "First") == preview.parts[0].assignments
    assert (made.split.seed, made.split.dataset_version, made.split.ratios) == (42, 1, THIRDS)


def test_anomalous_pictures_never_train() -> None:
    records = [picture(it, (Anomaly(is_anomalous=it >= 14),)) for it in range(20)]
    plan = Plan(ratios=Ratios(train=0.7, val=0.2, test=0.1), seed=1)
    (part,) = parts(plan, records, "anomaly_detection").parts
    assert part.class_distribution["normal"] == {"train": 9, "val": 3, "test": 2, "none": 0}
    assert part.class_distribution["anomalous"] == {"train": 0, "val": 4, "test": 2, "none": 0}


def test_a_group_with_an_anomalous_picture_never_trains() -> None:
    records = [picture(it, (Anomaly(is_anomalous=it % 10 == 0),), group=f"g{it // 4}") for it in range(40)]
    plan = Plan(method="grouped", ratios=Ratios(train=0.6, val=0.2, test=0.2))
    (part,) = parts(plan, records, "anomaly_detection").parts
    strange = {it.group for it in records if it.annotations == (Anomaly(is_anomalous=True),)}
    assert all(part.assignments[it.id] != "train" for it in records if it.group in strange)
    assert part.stats["train"] > 0


@pytest.mark.parametrize("kind", ["group", "folder", "duplicates"])
def test_what_belongs_together_stays_together(kind: Any) -> None:
    key = {
        "group": lambda it: {"group": f"g{it % 7}"},
        "folder": lambda it: {"original": f"{it % 7}/{it}.png"},
        "duplicates": lambda it: {"sha256": f"{it % 7:064x}"},
    }[kind]
    records = [picture(it, **key(it)) for it in range(40)]
    plan = Plan(method="grouped", ratios=THIRDS, options=Options(group_by=(kind,)))
    preview = parts(plan, records)
    together = [{preview.parts[0].assignments[it.id] for it in records[first::7]} for first in range(7)]
    assert all(len(it) == 1 for it in together)
    assert {it for one in together for it in one} == {"train", "val", "test"}


def test_duplicates_in_two_parts_are_told_of_unless_they_are_kept_together() -> None:
    records = [picture(it, sha256=f"{it // 2:064x}") for it in range(40)]
    (warning,) = [it for it in parts(Plan(ratios=THIRDS), records).warnings if "more than one part" in it]
    assert "keep duplicates together" in warning
    plan = Plan(ratios=THIRDS, options=Options(group_by=("duplicates",)))
    assert not [it for it in parts(plan, records).warnings if "more than one part" in it]


def test_by_time_the_newest_pictures_test() -> None:
    records = [picture(it, taken_at=f"2026-01-{20 - it:02}T10:00:00") for it in range(20)]
    records.append(picture(20))
    preview = parts(Plan(method="time", ratios=THIRDS), records)
    (part,) = preview.parts
    assert [part.assignments[it.id] for it in records[:4]] == ["test", "test", "val", "val"]
    assert records[20].id not in part.assignments
    assert "1 picture of unknown time, in no part." in preview.warnings
    with pytest.raises(Invalid, match="when it was taken"):
        parts(Plan(method="time", ratios=THIRDS), [picture(1)])


def test_by_hand_pictures_go_where_they_are_put() -> None:
    records = [
        picture(it, original=f"set/{name}/{it}.png") for it, name in enumerate(("Train", "valid", "x"))
    ]
    by_name = Options(assignments={"0000.png": "test", records[1].id: "val"}, rest="train")
    (part,) = parts(Plan(method="manual", options=by_name), records).parts
    assert list(part.assignments.values()) == ["test", "val", "train"]
    (part,) = parts(Plan(method="manual", options=Options(from_folders=True)), records).parts
    assert part.stats == {"train": 1, "val": 1, "test": 0, "none": 1}
    with pytest.raises(Invalid, match="'nope' is no picture"):
        parts(Plan(method="manual", options=Options(assignments={"nope": "val"})), records)
    with pytest.raises(Invalid, match="assignments"):
        parts(Plan(method="manual"), records)


@pytest.mark.parametrize("group_by", [(), ("group",)])
def test_k_folds_validate_every_picture_once_and_hold_out_one_test(group_by: Any) -> None:
    names = ("cats", "dogs")
    records = [picture(it, label(names[it % 2]), group=f"g{it // 2}") for it in range(44)]
    options = Options(folds=4, group_by=group_by)
    plan = Plan(method="kfold", ratios=Ratios(train=0.9, val=0.0, test=0.1), options=options)
    preview = parts(plan, records)
    assert len(preview.parts) == 4
    tests = [{it for it, subset in part.assignments.items() if subset == "test"} for part in preview.parts]
    assert tests[0] == tests[1] == tests[2] == tests[3]
    assert 4 <= len(tests[0]) <= 6
    validated = [it for part in preview.parts for it, subset in part.assignments.items() if subset == "val"]
    assert len(validated) == len(set(validated)) == 44 - len(tests[0])


def test_more_folds_than_pictures_or_groups_are_refused() -> None:
    with pytest.raises(Invalid, match="5 folds need as many pictures; there are 3"):
        parts(Plan(method="kfold"), [picture(it) for it in range(3)])
    records = [picture(it, group="one") for it in range(9)]
    with pytest.raises(Invalid, match="not enough groups"):
        parts(Plan(method="kfold", options=Options(group_by=("group",))), records)


ROWS = st.lists(st.tuples(st.sampled_from(["cats", "dogs", ""]), st.integers(0, 6)), max_size=30)
PLANS = st.builds(
    Plan,
    method=st.sampled_from(["stratified", "grouped", "kfold"]),
    ratios=st.sampled_from([THIRDS, Ratios(train=1, val=0, test=0), Ratios(train=0.5, val=0.25, test=0.25)]),
    seed=st.integers(0, 9),
    options=st.builds(
        Options,
        folds=st.integers(2, 3),
        group_by=st.sampled_from([(), ("group",), ("duplicates",), ("group", "folder")]),
    ),
)


@settings(max_examples=50, deadline=None)
@given(ROWS, PLANS)
def test_every_picture_with_a_class_is_in_one_part_and_the_same_seed_gives_the_same(
    rows: list[tuple[str, int]], plan: Plan
) -> None:
    records = [
        picture(
            place,
            label(name) if name else (),
            group=f"g{number}" if number else None,
            sha256=f"{number:064x}",
        )
        for place, (name, number) in enumerate(rows)
    ]
    try:
        preview = parts(plan, records)  # which proves each of its parts
    except Invalid:
        assert plan.method == "kfold"
        return
    for part in preview.parts:
        assert part.assignments.keys() == {it.id for it in records if it.annotations}
    assert parts(plan, records) == preview


# -- what is said ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ({"cats": 2}, "2 pictures: too few for three parts"),
        ({"cats": 20}, "All pictures are of one class, cats"),
        ({"cats": 20, "dogs": 1}, "Classes with one picture, which goes to train: dogs"),
        ({"cats": 20, "dogs": 2}, "Classes without a picture in"),
    ],
)
def test_what_is_doubtful_is_said(studio: Studio, classes: dict[str, int], words: str) -> None:
    made = project(studio)
    fill(studio, made.id, classes)
    warnings = studio.splits.preview(made.id, Plan(ratios=THIRDS)).warnings
    assert any(words in it for it in warnings), warnings


def test_a_class_of_one_picture_trains(studio: Studio) -> None:
    made = project(studio)
    fill(studio, made.id, {"cats": 20, "dogs": 1})
    (part,) = studio.splits.preview(made.id, Plan(ratios=THIRDS)).parts
    assert part.class_distribution["dogs"] == {"train": 1, "val": 0, "test": 0, "none": 0}


def test_anomaly_detection_without_one_of_its_kinds_is_told_of() -> None:
    for strange, words in ((False, "No picture is anomalous"), (True, "No picture is normal")):
        records = [picture(it, (Anomaly(is_anomalous=strange),)) for it in range(9)]
        preview = parts(Plan(ratios=THIRDS), records, "anomaly_detection")
        assert any(words in it for it in preview.warnings)


def test_pictures_without_a_class_are_in_no_part_and_told_of() -> None:
    preview = parts(Plan(ratios=THIRDS), [picture(1, ()), *(picture(it) for it in range(2, 12))])
    assert preview.parts[0].stats["none"] == 1
    assert "1 picture without a class, in no part." in preview.warnings


def test_ratios_are_needed_and_must_add_up() -> None:
    with pytest.raises(Invalid, match="missing"):
        parts(Plan(), [picture(1)])
    with pytest.raises(Invalid, match=r"add up to 1\.1"):
        parts(Plan(ratios=Ratios(train=0.9, val=0.1, test=0.1)), [picture(1)])


# -- kept ------------------------------------------------------------------------------------------------


def test_a_project_without_pictures_has_no_split(studio: Studio) -> None:
    empty = project(studio)
    assert studio.splits.list(empty.id) == []
    for act in (
        lambda: studio.splits.preview(empty.id, Plan(ratios=THIRDS)),
        lambda: studio.splits.create(empty.id, "x", Plan(ratios=THIRDS), by=ANNA),
    ):
        with pytest.raises(DatasetNotImported):
            act()


def test_splits_are_listed_in_their_order_and_found_by_name_and_id(studio: Studio, pets: str) -> None:
    for name in ("b", "a"):
        studio.splits.create(pets, name, Plan(ratios=THIRDS), by=ANNA)
    found = studio.splits.list(pets)
    assert [(it.split.name, it.index) for it in found] == [("b", 0), ("a", 1)]
    assert studio.splits.get(pets, found[1].split.id).split.name == "a"
    with pytest.raises(SplitNotFound):
        studio.splits.get(pets, "c")
    for name in ("A", "preview", "Preview", "split-00000000", "bad!name", ""):
        with pytest.raises((Conflict, Invalid)):
            studio.splits.create(pets, name, Plan(ratios=THIRDS), by=ANNA)
    assert len(studio.splits.list(pets)) == 2


def test_k_folds_are_splits_of_their_own(studio: Studio, pets: str) -> None:
    plan = Plan(method="kfold", options=Options(folds=3))
    made = studio.splits.create(pets, "Fold", plan, by=ANNA)
    assert [it.split.name for it in made] == ["Fold 1", "Fold 2", "Fold 3"]
    assert [it.split.options.fold for it in made] == [1, 2, 3]
    assert len({it.split.options.family for it in made}) == 1
    assert [it.stats["val"] for it in made] == [14, 13, 13]


def test_a_corrupt_split_is_named_and_takes_no_other_down(studio: Studio, pets: str, tmp_path: Path) -> None:
    first, second = (studio.splits.create(pets, it, Plan(ratios=THIRDS), by=ANNA)[0] for it in ("a", "b"))
    path = tmp_path / "studio" / "projects" / pets / "splits" / f"{first.split.id}.json"
    path.write_bytes(path.read_bytes()[:100])
    assert [it.split.name for it in studio.splits.list(pets)] == ["b"]
    (problem,) = studio.splits.problems(pets)
    assert path.name in problem
    assert second.split.name == "b"


def test_pictures_that_went_count_as_gone_and_those_that_came_are_in_no_part(
    studio: Studio, pets: str
) -> None:
    (made,) = studio.splits.create(pets, "a", Plan(ratios=THIRDS), by=ANNA)
    held = studio.datasets.ids(pets, ImageQuery(split="a", subset="test"))
    studio.datasets.remove(pets, held[:3], by=ANNA)
    fill(studio, pets, {"birds": 2}, mode="add")
    now = studio.splits.get(pets, "a")
    assert (now.stats, now.gone) == ({"train": 32, "val": 4, "test": 1, "none": 2}, 3)
    assert now.class_distribution["birds"] == {"train": 0, "val": 0, "test": 0, "none": 2}
    assert now.split == made.split
    assert studio.datasets.count(pets, ImageQuery(split="a", subset="none")) == 2
    studio.datasets.return_to(pets, 1, by=ANNA)
    assert studio.splits.get(pets, "a").stats == made.stats
    assert sorted(studio.datasets.ids(pets, ImageQuery(split="a", subset="test"))) == sorted(held)


def test_deleting_says_who_was_made_with_it_and_is_refused_while_one_runs(studio: Studio, pets: str) -> None:
    studio.splits.create(pets, "a", Plan(ratios=THIRDS), by=ANNA)
    studio.datasets.images(pets, ImageQuery(split="a", subset="val"))
    users = ["One", "!Two"]
    studio.splits.use_with(lambda _, split: users if split.name == "a" else [])
    with pytest.raises(InUse, match="in use by Two"):
        studio.splits.delete(pets, "a")
    users.pop()
    assert studio.splits.delete(pets, "a") == ["One"]
    with pytest.raises(SplitNotFound):
        studio.splits.delete(pets, "a")
    studio.splits.create(pets, "a", Plan(ratios=Ratios(train=0.5, val=0.5, test=0)), by=ANNA)
    assert studio.datasets.count(pets, ImageQuery(split="a", subset="val")) == 20


def test_a_division_of_somebody_else_is_kept_as_it_is(studio: Studio, pets: str) -> None:
    known = ids(studio, pets)
    given: dict[str, Any] = {known["cats_0.png"]: "train", known["dogs_0.png"]: "test"}
    made = studio.splits.adopt(pets, "Theirs", given, by=ANNA, warnings=["Old."])
    assert (made.stats["train"], made.stats["test"], made.stats["none"]) == (1, 1, 38)
    assert studio.splits.assignments(pets, "Theirs") == given
    with pytest.raises(ImageNotFound):
        studio.splits.adopt(pets, "More", {"img-000000000000": "val"}, by=ANNA)


def test_relabelling_changes_no_part(studio: Studio, pets: str) -> None:
    studio.splits.create(pets, "a", Plan(ratios=THIRDS), by=ANNA)
    before = studio.splits.assignments(pets, "a")
    held = studio.datasets.ids(pets, ImageQuery(split="a", subset="test"))
    studio.datasets.relabel(pets, held, "birds", by=ANNA)
    assert studio.splits.assignments(pets, "a") == before
    assert studio.splits.get(pets, "a").class_distribution["birds"]["test"] == 4
    assert studio.datasets.class_counts(pets, ImageQuery(split="a", subset="test"))["birds"] == 4


def test_a_split_survives_the_same_pictures_imported_again(studio: Studio, pets: str) -> None:
    studio.splits.create(pets, "a", Plan(ratios=THIRDS), by=ANNA)
    fill(studio, pets, {"cats": 20, "dogs": 20, "birds": 1})
    assert studio.splits.get(pets, "a").stats == {"train": 32, "val": 4, "test": 4, "none": 1}


def test_two_pictures_of_one_moment_and_one_group_are_no_trouble(studio: Studio) -> None:
    made = project(studio)
    staging = studio.datasets.begin(made.id, "replace", by=ANNA, source_format="f", source_path="/")
    add(staging, "a.png", b"1", label("a"), group="g", taken_at="2026-01-01")
    staging.commit("1")
    for plan in (
        Plan(ratios=THIRDS),
        Plan(method="grouped", ratios=THIRDS),
        Plan(method="time", ratios=THIRDS),
    ):
        assert studio.splits.preview(made.id, plan).parts[0].stats["train"] == 1
