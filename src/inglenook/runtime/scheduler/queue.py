# SPDX-License-Identifier: Apache-2.0
"""Who waits, in which order within each class and person, and what is wished for. Plain data; a part of the
ledger."""

from collections import Counter, OrderedDict
from collections.abc import Mapping

from inglenook.base.ids import PersonId, RequestId
from inglenook.base.work import WorkClass
from inglenook.runtime.contracts import Request
from inglenook.runtime.scheduler.resident import PlanKey, Wish, wish_of


class LedgerError(AssertionError):
    """The owner of the ledger asked for something that breaks what must always hold."""


class Queue:
    def __init__(self) -> None:
        self.waiting: dict[RequestId, Request] = {}
        self.turns: dict[PersonId, int] = {}
        self.evicted_for: dict[RequestId, tuple[str, ...]] = {}
        self.wanted: dict[PlanKey, Counter[WorkClass]] = {}
        """How many wait for each plan, by class; a plan that nobody waits for is not in it."""
        self.wishes: Counter[Wish] = Counter()
        """How many wait for each plan at a scale and in a form on certain devices: what is true of one of
        them is true of all. What nobody waits for is not in it."""
        self._streams: dict[tuple[WorkClass, PersonId], OrderedDict[RequestId, Request]] = {}
        self._round = 0  # the turn at which a newcomer joins the round

    def streams(self) -> Mapping[tuple[WorkClass, PersonId], Mapping[RequestId, Request]]:
        """Waiting requests, each person's own order within each class. Not to be changed."""
        return self._streams

    def submit(self, request: Request) -> None:
        if request.id in self.waiting:
            raise LedgerError(f"request {request.id} waits already")
        active = any(person == request.person for _, person in self._streams)
        if not active:
            # Who was away neither lost nor saved turns.
            self.turns[request.person] = max(self.turns.get(request.person, 0), self._round)
        self.waiting[request.id] = request
        stream = self._streams.setdefault((request.work_class, request.person), OrderedDict())
        stream[request.id] = request
        self.wanted.setdefault(request.plan.key, Counter())[request.work_class] += 1
        self.wishes[wish_of(request)] += 1

    def withdraw(self, request_id: RequestId) -> Request | None:
        """Take a request out of the queue; None when it does not wait (any more)."""
        request = self.waiting.pop(request_id, None)
        if request is None:
            return None
        place = (request.work_class, request.person)
        stream = self._streams[place]
        del stream[request_id]
        if not stream:
            del self._streams[place]
        counts = self.wanted[request.plan.key]
        counts[request.work_class] -= 1
        if not counts.total():
            del self.wanted[request.plan.key]
            self.nobody_wants(request.plan.key)
        wish = wish_of(request)
        self.wishes[wish] -= 1
        if not self.wishes[wish]:
            del self.wishes[wish]
        self.evicted_for.pop(request_id, None)
        return request

    def nobody_wants(self, key: PlanKey) -> None:
        """The last that waited for the plan has gone."""

    def took_turn(self, person: PersonId) -> None:
        self._round = max(self._round, self.turns[person])
        self.turns[person] += 1

    def note_cleared(self, request: RequestId, what: str) -> None:
        """What was unloaded or parked for a request that waits, and why."""
        if request in self.waiting:
            self.evicted_for[request] = (*self.evicted_for.get(request, ()), what)
