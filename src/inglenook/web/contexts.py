# SPDX-License-Identifier: Apache-2.0
"""What the templates are given, gathered from the services for one caller."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from inglenook.base.errors import InglenookError, NotFound
from inglenook.base.ids import JobId, ModelId, PersonId, PictureId
from inglenook.catalog.model import ImageDefaults, ModelKind, ModelRecord
from inglenook.jobs.model import FINAL, Job, JobState
from inglenook.web import form
from inglenook.web.cards import JobCard, card_of
from inglenook.web.fire import fire_of, warmth_of
from inglenook.web.form import Problems
from inglenook.web.models import Warmth, choice, choices, picture_models, ranges
from inglenook.web.pictures import PictureView, of_picture, parameter_rows
from inglenook.web.services import IMAGE_KIND, Services
from inglenook.web.templating import render
from inglenook.wire.families import FAMILIES
from inglenook.wire.schedulers import SCHEDULERS

Context = dict[str, Any]

TILES = 48
ACTIVE_CARDS = 100
FINISHED_CARDS = 10
"""How many at most: those that ended after the last one that succeeded, and that one."""

_ACTIVE = frozenset(JobState) - FINAL
_NO_MODEL = ImageDefaults(
    native_px=(_family := FAMILIES["sd1"]).native_px,
    multiple=_family.multiple,
    width=_family.native_px,
    height=_family.native_px,
    steps=_family.steps,
    guidance_scale=_family.guidance_scale,
)
"""What the form shows while there is no model that could say better."""


_FOLDED_AWAY = frozenset(form.FIELDS) - {"prompt", "model", "n", "strength"}


class Contexts:
    """Reads, never changes anything."""

    def __init__(self, *, services: Services) -> None:
        self._services = services

    # -- the whole page ----------------------------------------------------------------------------------

    async def home(
        self,
        caller: PersonId,
        *,
        csrf: str,
        values: Mapping[str, str],
        problems: Problems,
        job: JobId | None = None,
        before: PictureId | None = None,
    ) -> Context:
        """Args:
        values, problems: of the form.
        job: one whose card is shown in any case.
        before: the last picture of the page before.
        """
        snapshot = self._services.runtime.snapshot()
        return {
            **await self.form(values, problems, csrf=csrf, warmth=warmth_of(snapshot)),
            "cards": [await self.card(one, caller) for one in await self._shown_jobs(caller, job)],
            **await self.tiles(caller, before),
            "before": before,
            "fire": fire_of(snapshot),
        }

    async def form(
        self,
        values: Mapping[str, str],
        problems: Problems,
        *,
        csrf: str,
        warmth: Mapping[ModelId, Warmth] | None = None,
    ) -> Context:
        if warmth is None:
            warmth = warmth_of(self._services.runtime.snapshot())
        records, default = await asyncio.to_thread(self._models)
        chosen = next((it for it in records if it.id == values["model"]), None)
        if chosen is None:
            chosen = next((it for it in records if it.id == default), None)
        return {
            "csrf": csrf,
            "ticket": secrets.token_urlsafe(16),
            "values": {**values, "model": "" if chosen is None else chosen.id},
            "problems": problems,
            "choices": choices(records, warmth),
            "choice_now": None if chosen is None else choice(chosen, warmth.get(chosen.id, Warmth())),
            "ranges": ranges(
                _NO_MODEL if chosen is None or chosen.image is None else chosen.image,
                self._services.images.limits,
            ),
            "schedulers": _schedulers(chosen),
            "open": problems.in_details or any(values[name] for name in _FOLDED_AWAY) or values["n"] != "1",
        }

    async def models(self) -> list[ModelRecord]:
        """The models of the picker. Looks at the disk."""
        return (await asyncio.to_thread(self._models))[0]

    def model_states(self, records: Sequence[ModelRecord]) -> dict[str, str]:
        """By model id: the line below the picker, as HTML."""
        warmth = warmth_of(self._services.runtime.snapshot())
        return {
            one.id: render("fragments/model_state.html", choice_now=one) for one in choices(records, warmth)
        }

    def fire_html(self) -> str:
        return render("fragments/fire.html", fire=fire_of(self._services.runtime.snapshot()))

    def _models(self) -> tuple[list[ModelRecord], ModelId | None]:
        """Blocks."""
        records = self._services.catalog.list(ModelKind.IMAGE)
        try:
            default = self._services.catalog.resolve("auto").id
        except InglenookError:  # none that can be used: the page shows why, model by model
            default = None
        return picture_models(records, default), default

    # -- jobs --------------------------------------------------------------------------------------------

    async def _shown_jobs(self, caller: PersonId, wanted: JobId | None) -> list[Job]:
        jobs = self._services.jobs
        shown = await jobs.list(caller, states=_ACTIVE, kind=IMAGE_KIND, limit=ACTIVE_CARDS)
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

    # -- filling the form again --------------------------------------------------------------------------

    async def wanted_values(self, asked: Mapping[str, str], caller: PersonId) -> dict[str, str]:
        """What the form begins with: the parameters of the `picture` or of the `job` that is asked for (with
        `seed` as it was typed), or a `prompt`."""
        if asked.get("picture"):
            picture = PictureId(asked["picture"])
            found = await asyncio.to_thread(self._services.gallery.get, picture, caller=caller)
            kept = {"model": found.model, "prompt": found.prompt, **found.parameters, "seed": found.seed}
            return form.of_picture(kept)
        if asked.get("job"):
            job = await self._services.jobs.get(JobId(asked["job"]), caller)
            return form.of_job(job.payload, seed=asked.get("seed", ""))
        return form.blank() | {"prompt": asked.get("prompt", "")}


def _schedulers(record: ModelRecord | None) -> dict[str, str]:
    """Those that the model can follow, with what is said about each."""
    able = () if record is None or record.image is None else record.image.schedulers
    return {name: words for name, words in SCHEDULERS.items() if not able or name in able}
