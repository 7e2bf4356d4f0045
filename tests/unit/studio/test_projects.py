# SPDX-License-Identifier: Apache-2.0
"""Projects: their names, who sees which, and what keeps one from being deleted."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.studio_bench import ANNA, BERT, fill, project, studio_in

from inglenook.base.errors import Denied, Invalid
from inglenook.studio.errors import InUse, ProjectNotFound
from inglenook.studio.projects.model import Share, described, named
from inglenook.studio.studio import Studio
from inglenook.testing.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def studio(tmp_path: Path, clock: FakeClock) -> Iterator[Studio]:
    with studio_in(tmp_path, clock) as made:
        yield made


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("  My   cats\tand\ndogs ", "My cats and dogs"),
        ("2024_run-1", "2024_run-1"),
        ("Кошки и собаки", "Кошки и собаки"),
        ("बिल्लियाँ", "बिल्लियाँ"),
        ("x" * 80, "x" * 80),
    ],
)
def test_a_name_is_trimmed_and_may_be_of_every_script(text: str, kept: str) -> None:
    assert named(text) == kept


@pytest.mark.parametrize("text", ["", "   ", "x" * 81, "_x", "-x", "bad!name", "a/b", "a.b", "a\0b", "😀"])
def test_a_name_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        named(text)
    assert refused.value.field == "name"


def test_a_description_may_have_full_stops_and_commas_and_a_blank_one_is_none() -> None:
    assert described(" Cats, dogs. And #3? ") == "Cats, dogs. And #3?"
    assert described("  ") is None
    assert described(None) is None
    with pytest.raises(Invalid, match="280"):
        described("x" * 281)


def test_a_project_is_made_changed_and_deleted(studio: Studio, clock: FakeClock) -> None:
    made = studio.projects.create(ANNA, "Pets", "classification", "All of them.")
    assert made.id.startswith("proj-")
    assert made.created_at == made.updated_at
    clock.advance(60)
    changed = studio.projects.update(ANNA, made.id, name="Animals")
    assert (changed.name, changed.description) == ("Animals", "All of them.")
    assert changed.updated_at > made.updated_at
    assert studio.projects.update(ANNA, made.id, description=None).description is None
    assert studio.projects.get(ANNA, made.id).name == "Animals"
    studio.projects.delete(ANNA, made.id)
    assert studio.projects.list(ANNA).projects == ()
    with pytest.raises(ProjectNotFound):
        studio.projects.get(ANNA, made.id)


def test_two_projects_may_have_one_name(studio: Studio) -> None:
    assert project(studio).id != project(studio).id


def test_a_task_that_is_none_is_refused(studio: Studio) -> None:
    with pytest.raises(Invalid, match="no task 'magic'"):
        studio.projects.create(ANNA, "Pets", "magic")


def test_others_see_a_project_only_when_it_is_shared_and_change_it_only_with_the_right_to(
    studio: Studio,
) -> None:
    pets = project(studio)
    assert studio.projects.list(BERT).projects == ()
    with pytest.raises(ProjectNotFound):
        studio.projects.require(BERT, pets.id, write=False)
    studio.projects.share(ANNA, pets.id, [Share(person=BERT)])
    assert [it.id for it in studio.projects.list(BERT).projects] == [pets.id]
    with pytest.raises(Denied, match="look at only"):
        studio.projects.require(BERT, pets.id, write=True)
    studio.projects.share(ANNA, pets.id, [Share(person=BERT, write=True)])
    assert studio.projects.require(BERT, pets.id, write=True).id == pets.id
    for act in (
        lambda: studio.projects.delete(BERT, pets.id),
        lambda: studio.projects.update(BERT, pets.id, name="Mine"),
        lambda: studio.projects.share(BERT, pets.id, []),
    ):
        with pytest.raises(Denied, match="owner"):
            act()
    studio.projects.share(ANNA, pets.id, [])
    assert studio.projects.list(BERT).projects == ()


def test_a_project_is_not_shared_twice_with_one_person_nor_with_its_owner(studio: Studio) -> None:
    pets = project(studio)
    for people in ([Share(person=BERT), Share(person=BERT, write=True)], [Share(person=ANNA)]):
        with pytest.raises(Invalid):
            studio.projects.share(ANNA, pets.id, people)


def test_nothing_is_deleted_while_an_experiment_runs(studio: Studio) -> None:
    pets = project(studio)
    fill(studio, pets.id, {"cats": 2})
    running = ["the experiment 'First' is training"]
    studio.projects.guard_with(lambda project_id: running[0] if running and project_id == pets.id else None)
    with pytest.raises(InUse, match="because the experiment 'First' is training"):
        studio.projects.delete(ANNA, pets.id)
    with pytest.raises(InUse):
        studio.datasets.clear(pets.id)
    running.clear()
    studio.datasets.clear(pets.id)
    studio.projects.delete(ANNA, pets.id)


def test_cards_show_what_a_project_holds(studio: Studio) -> None:
    pets = project(studio)
    studio.projects.count_with("experiments", lambda _: 3)
    assert studio.projects.counts(pets.id) == {"images": 0, "splits": 0, "experiments": 3}
    fill(studio, pets.id, {"cats": 2})
    assert studio.projects.counts(pets.id)["images"] == 2
