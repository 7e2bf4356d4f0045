# SPDX-License-Identifier: Apache-2.0
"""Whose job is begun next. Pure.

The runtime's scheduler decides who gets the accelerator; this only keeps ten thousand waiting jobs from
being ten thousand tasks, without letting one person's thousand hide another person's one from it.
"""

from collections import OrderedDict
from collections.abc import Mapping

from inglenook.base.ids import JobId, PersonId


class Turns:
    """Queued jobs of one work class: people in rotation, each one's own jobs in their order."""

    def __init__(self) -> None:
        self._by_person: OrderedDict[PersonId, OrderedDict[JobId, None]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self._by_person.values())

    def add(self, person: PersonId, job: JobId) -> None:
        self._by_person.setdefault(person, OrderedDict())[job] = None

    def remove(self, person: PersonId, job: JobId) -> bool:
        """Return whether it was there."""
        jobs = self._by_person.get(person)
        if jobs is None or job not in jobs:
            return False
        del jobs[job]
        if not jobs:
            del self._by_person[person]
        return True

    def take(self, begun: Mapping[PersonId, int]) -> tuple[PersonId, JobId] | None:
        """Remove and return the next job, or None when there is none.

        It is the oldest one of the person who has the fewest begun; among equals, of the one whose last
        turn was longest ago.

        Args:
            begun: how many jobs of each person are begun and not finished.
        """
        if not self._by_person:
            return None
        person = min(self._by_person, key=lambda who: begun.get(who, 0))  # the first of equals
        jobs = self._by_person[person]
        job, _ = jobs.popitem(last=False)
        if jobs:
            self._by_person.move_to_end(person)
        else:
            del self._by_person[person]
        return person, job

    def position(self, person: PersonId, job: JobId) -> int | None:
        """Its place if people were served in turn and nobody else came, 1 is next; None if it is not here."""
        jobs = self._by_person.get(person, OrderedDict())
        if job not in jobs:
            return None
        rank = list(jobs).index(job)
        earlier, before_me = 0, 1
        for other, theirs in self._by_person.items():
            if other == person:
                before_me = 0  # those after me in the rotation have had one turn less
            else:
                earlier += min(len(theirs), rank + before_me)
        return rank + earlier + 1
