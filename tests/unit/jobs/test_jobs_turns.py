# SPDX-License-Identifier: Apache-2.0
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from inglenook.base.ids import JobId, PersonId
from inglenook.jobs.turns import Turns

ANN, BOB, CYD = PersonId("ann"), PersonId("bob"), PersonId("cyd")

submissions = st.lists(st.sampled_from([ANN, BOB, CYD]), max_size=40)


def filled(owners: list[PersonId]) -> Turns:
    turns = Turns()
    for number, owner in enumerate(owners):
        turns.add(owner, JobId(str(number)))
    return turns


def order(turns: Turns) -> list[tuple[PersonId, JobId]]:
    """Whoever is taken, while nothing that was begun ever ends."""
    begun: Counter[PersonId] = Counter()
    taken = []
    while (turn := turns.take(begun)) is not None:
        begun[turn[0]] += 1
        taken.append(turn)
    return taken


def test_one_person_is_served_in_the_order_of_submission() -> None:
    assert [job for _, job in order(filled([ANN, ANN, ANN]))] == ["0", "1", "2"]


def test_a_late_comer_with_one_job_goes_before_the_rest_of_a_long_queue() -> None:
    turns = filled([ANN] * 1000)
    turns.take({})
    turns.add(BOB, JobId("late"))
    assert turns.take({ANN: 1}) == (BOB, "late")


def test_among_people_with_the_same_number_begun_the_rotation_decides() -> None:
    turns = filled([ANN, ANN, ANN, BOB, BOB, CYD])
    assert [turns.take({})[0] for _ in range(6)] == [ANN, BOB, CYD, ANN, BOB, ANN]  # type: ignore[index]


@given(submissions)
def test_every_job_is_taken_once_and_each_person_in_their_own_order(owners: list[PersonId]) -> None:
    taken = order(filled(owners))
    assert sorted(int(job) for _, job in taken) == list(range(len(owners)))
    for person in (ANN, BOB, CYD):
        assert [job for who, job in taken if who == person] == [
            str(number) for number, owner in enumerate(owners) if owner == person
        ]


@given(submissions)
def test_no_person_with_jobs_left_falls_more_than_one_behind_another(owners: list[PersonId]) -> None:
    left, begun = Counter(owners), Counter[PersonId]()
    for person, _ in order(filled(owners)):
        assert all(begun[person] <= begun[other] for other in left if left[other] > 0)
        begun[person] += 1
        left[person] -= 1


@given(submissions)
def test_the_position_told_is_the_place_in_the_order_of_an_even_rotation(owners: list[PersonId]) -> None:
    turns = filled(owners)
    told = {str(n): turns.position(owner, JobId(str(n))) for n, owner in enumerate(owners)}
    rotation = []
    while (turn := turns.take({})) is not None:
        rotation.append(turn[1])
    assert {job: place for place, job in enumerate(rotation, 1)} == told


@given(submissions, st.data())
def test_a_removed_job_is_gone_and_the_others_stay(owners: list[PersonId], data: st.DataObject) -> None:
    turns = filled(owners)
    gone = data.draw(st.sets(st.integers(0, max(len(owners) - 1, 0)).filter(lambda n: n < len(owners))))
    for number in gone:
        assert turns.remove(owners[number], JobId(str(number))) is True
        assert turns.remove(owners[number], JobId(str(number))) is False
        assert turns.position(owners[number], JobId(str(number))) is None
    assert len(turns) == len(owners) - len(gone)
    assert {int(job) for _, job in order(turns)} == set(range(len(owners))) - gone
