# SPDX-License-Identifier: Apache-2.0
"""What the templates are given, gathered from the services for one caller."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from inglenook.base.errors import NotFound
from inglenook.base.ids import JobId, PersonId, PictureId
from inglenook.jobs.model import FINAL, Job, JobState
from inglenook.web.asking import Asking
from inglenook.web.cards import JobCard, card_of
from inglenook.web.fire import fire_of, warmth_of
from inglenook.web.form import Problems, Values
from inglenook.web.pictures import PictureView, of_picture, parameter_rows
from inglenook.web.services import IMAGE_KIND, Services
from inglenook.web.templating import render

Context = dict[str, Any]

TILES = 48
ACTIVE_CARDS = 100
FINISHED_CARDS = 10
"""How many at most: those that ended after the last one that succeeded, and that one."""

ACTIVE = frozenset(JobState) - FINAL


class Contexts:
    """Reads, never changes anything."""

    def __init__(self, *, services: Services) -> None:
        self._services = services
        self.asking = Asking(services=services)

    # -- the whole page ----------------------------------------------------------------------------------

    async def home(
        self,
        caller: PersonId,
        *,
        csrf: str,
        values: Values,
        problems: Problems,
        vary: str = "",
        refit: bool = False,
        job: JobId | None = None,
        before: PictureId | None = None,
    ) -> Context:
        """Args:
        values, problems, vary, refit: of the form.
        job: one whose card is shown in any case.
        before: the last picture of the page before.
        """
        snapshot = self._services.runtime.snapshot()
        return {
            **await self.asking.form(
                values, problems, csrf=csrf, warmth=warmth_of(snapshot), refit=refit, vary=vary
            ),
            "cards": [await self.card(one, caller) for one in await self._shown_jobs(caller, job)],
            **await self.tiles(caller, before),
            "before": before,
            "fire": fire_of(snapshot),
        }

    def fire_html(self) -> str:
        return render("fragments/fire.html", fire=fire_of(self._services.runtime.snapshot()))

    # -- jobs --------------------------------------------------------------------------------------------

    async def _shown_jobs(self, caller: PersonId, wanted: JobId | None) -> list[Job]:
        jobs = self._services.jobs
        shown = await jobs.list(caller, states=ACTIVE, kind=IMAGE_KIND, limit=ACTIVE_CARDS)
        for job in await jobs.list(caller, states=FINAL, kind=IMAGE_KIND, limit=FINISHED_CARDS):
            shown.append(job)
            if job.state is JobState.SUCCEEDED:
                break
        if wanted is not None and all(job.id != wanted for job in shown):
            shown.insert(0, await jobs.get(wanted, caller))
        return shown

    async def card(self, job: Job, caller: PersonId, *, notices: Sequence[str] = ()) -> JobCard:
        """Its pictures are those that were not deleted since."""
        waiting = self._services.jobs.describe(job)["explanation"]
        card = card_of(job, waiting=waiting, notices=notices)
        if not card.pictures or not job.is_final:
            return card
        kept = await asyncio.to_thread(self._still_there, card.pictures, caller)
        return replace(card, pictures=kept)

    def _still_there(self, pictures: Sequence[PictureView], caller: PersonId) -> tuple[PictureView, ...]:
        """Blocks."""
        return tuple(view for view in pictures if self._find(PictureId(view.id), caller) is not None)

    def _find(self, picture: PictureId, caller: PersonId) -> PictureView | None:
        """Blocks."""
        try:
            return of_picture(self._services.gallery.get(picture, caller=caller))
        except NotFound:
            return None

    async def card_html(self, job: Job, caller: PersonId, *, csrf: str, notices: Sequence[str] = ()) -> str:
        card = await self.card(job, caller, notices=notices)
        return render("fragments/card.html", card=card, csrf=csrf)

    # -- pictures ----------------------------------------------------------------------------------------

    async def tiles(self, caller: PersonId, before: PictureId | None) -> Context:
        """One page of the list. `next`: after which picture the page after it begins, None at the end."""
        found = await asyncio.to_thread(self._services.gallery.list, caller, limit=TILES + 1, before=before)
        page = found[:TILES]
        return {
            "tiles": [of_picture(picture) for picture in page],
            "next": page[-1].id if len(found) > TILES else None,
        }

    async def newer_tiles(self, caller: PersonId, newest: str) -> list[PictureView]:
        """Pictures made since `newest` (an id; "" for none), the last made last; at most one page."""
        page = (await self.tiles(caller, None))["tiles"]
        fresh = []
        for view in page:
            if view.id == newest:
                break
            fresh.append(view)
        return fresh[::-1]

    async def tile_html(self, picture: PictureId, caller: PersonId) -> str | None:
        """None when it is gone already."""
        view = await asyncio.to_thread(self._find, picture, caller)
        return None if view is None else render("fragments/tile.html", picture=view)

    async def picture(self, picture: PictureId, caller: PersonId, *, csrf: str) -> Context:
        found = await asyncio.to_thread(self._services.gallery.get, picture, caller=caller)
        return {
            "picture": of_picture(found),
            "rows": parameter_rows({"model": found.model, "seed": found.seed, **found.parameters}),
            "csrf": csrf,
        }
