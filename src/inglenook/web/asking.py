# SPDX-License-Identifier: Apache-2.0
"""What the drawing form is given: models, ranges, what was typed or used before. Only reads."""

import asyncio
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inglenook.base.errors import InglenookError
from inglenook.base.ids import JobId, ModelId, PersonId, PictureId
from inglenook.catalog.model import ImageDefaults, ModelRecord
from inglenook.images.styles import STYLES
from inglenook.web import again, form
from inglenook.web.fire import warmth_of
from inglenook.web.form import LoraRow, Problems, Values
from inglenook.web.models import Warmth, choice, choices, picture_models
from inglenook.web.pictures import file_url
from inglenook.web.ranges import family_of, fitted, ranges
from inglenook.web.services import IMAGE_KIND, Services
from inglenook.web.templating import render
from inglenook.wire.families import FAMILIES

Context = dict[str, Any]

HISTORY_JOBS = 200
HISTORY_PROMPTS = 20
_NO_MODEL = ImageDefaults(
    native_px=(_family := FAMILIES["sd1"]).native_px,
    multiple=_family.multiple,
    width=_family.native_px,
    height=_family.native_px,
    steps=_family.steps,
    guidance_scale=_family.guidance_scale,
)
"""What the form shows while there is no model that could say better."""
_BLOB = re.compile(r"[0-9a-f]{64}")

_FOLDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "picture": (
        ("image", "mask", "extend", "strength"),
        (*form.EXTEND, *form.RECTANGLE, "strength", "mask_id"),
    ),
    "loras": (("loras",), ()),
    "tuning": (
        ("steps", "guidance_scale", "scheduler", "sigmas", "clip_skip", "vae", "engine"),
        ("steps", "guidance_scale", "scheduler", "sigmas", "clip_skip", "vae", "engine"),
    ),
    "hires": (("hires",), ("hires",)),
    "file": (("output_format", "output_compression", "transparent"), ("output_format", "transparent")),
}
"""The folded parts of the form: errors that open one, and fields that do when something stands in them."""


@dataclass(frozen=True, slots=True)
class InputView:
    """An input picture on the form: what is sent for it, and where it can be seen."""

    value: str
    url: str


@dataclass(frozen=True, slots=True)
class Asked:
    """Words that were used before."""

    prompt: str
    negative_prompt: str


class Asking:
    def __init__(self, *, services: Services) -> None:
        self._services = services

    async def form(
        self,
        values: Values,
        problems: Problems,
        *,
        csrf: str,
        warmth: Mapping[ModelId, Warmth] | None = None,
        refit: bool = False,
        vary: str = "",
    ) -> Context:
        """Args:
        refit: another model was chosen: let go of what it cannot do, and say so.
        vary: the picture that the form asks a variation of, which it may begin with as well; "" for none.
        """
        if warmth is None:
            warmth = warmth_of(self._services.runtime.snapshot())
        records, parts, default = await asyncio.to_thread(self._models)
        chosen = next((it for it in records if it.id == values["model"]), None)
        if chosen is None:
            chosen = next((it for it in records if it.id == default), None)
        defaults = _NO_MODEL if chosen is None or chosen.image is None else chosen.image
        now = ranges(defaults, family_of(chosen), parts, self._services.images.limits)
        said: tuple[str, ...] = ()
        if refit:
            values, said = fitted(values, now)
        offered = choices(records, warmth)
        return {
            "csrf": csrf,
            "ticket": new_ticket(),
            "values": values.changed(model="" if chosen is None else chosen.id),
            "lora_rows": [*values.loras, LoraRow("")],
            "inputs": [input_view(it) for it in values.inputs],
            "mask_url": _input_url(values["mask_id"]) if values["mask_id"] else "",
            "problems": problems,
            "choices": [it for it in offered if it.usable],
            "unusable": [it for it in offered if not it.usable],
            "choice_now": None if chosen is None else choice(chosen, warmth.get(chosen.id, Warmth())),
            "ranges": now,
            "styles": STYLES,
            "engines": form.ENGINES,
            "notes": said,
            "vary": vary,
            "folds": _open_folds(values, problems),
        }

    async def models(self) -> list[ModelRecord]:
        """The models of the picker. Looks at the disk."""
        return (await asyncio.to_thread(self._models))[0]

    def model_states(self, records: Sequence[ModelRecord]) -> dict[str, dict[str, str]]:
        """By model id: `html`, the line below the picker; `option`, its line in the picker."""
        offered = choices(records, warmth_of(self._services.runtime.snapshot()))
        return {
            one.id: {
                "html": render("fragments/model_state.html", choice_now=one),
                "option": f"{one.title} · {one.words}",
            }
            for one in offered
            if one.usable
        }

    def _models(self) -> tuple[list[ModelRecord], list[ModelRecord], ModelId | None]:
        """Models that draw, everything else, and the default. Blocks."""
        records = self._services.catalog.list()
        try:
            default = self._services.catalog.resolve("auto").id
        except InglenookError:  # none that can be used: the page shows why, model by model
            default = None
        return picture_models(records, default), list(records), default

    # -- filling the form again --------------------------------------------------------------------------

    async def wanted(self, asked: Mapping[str, str], caller: PersonId) -> Values:
        """What the form begins with: what made the `picture`, or the `job` (with `seed` as it was typed); a
        variation of the picture `vary` (`from=picture`: that begins with it); the picture `input` to begin
        with; or a `prompt`, a `negative_prompt` and a `model`."""
        for name in ("picture", "vary"):
            if asked.get(name):
                values = await self._of_picture(PictureId(asked[name]), caller)
                source = asked[name] if asked.get("from") == "picture" else None
                return values if name == "picture" else again.varied(values, source=source)
        if asked.get("job"):
            job = await self._services.jobs.get(JobId(asked["job"]), caller)
            return again.of_job(job.payload, seed=asked.get("seed", ""))
        values = form.blank().changed(
            prompt=asked.get("prompt", ""),
            negative_prompt=asked.get("negative_prompt", ""),
            model=asked.get("model", ""),
        )
        if asked.get("input"):
            await self._picture(
                PictureId(asked["input"]), caller
            )  # refused here if it is none of the caller's
            values = values.changed(inputs=(asked["input"],))
        return values

    async def _of_picture(self, picture: PictureId, caller: PersonId) -> Values:
        found = await self._picture(picture, caller)
        return again.of_picture(
            {"model": found.model, "prompt": found.prompt, **found.parameters, "seed": found.seed}
        )

    async def _picture(self, picture: PictureId, caller: PersonId) -> Any:
        return await asyncio.to_thread(self._services.gallery.get, picture, caller=caller)

    async def history(self, caller: PersonId) -> list[Asked]:
        """The caller's last prompts, each once, the last used first."""
        jobs = await self._services.jobs.list(caller, kind=IMAGE_KIND, limit=HISTORY_JOBS)
        found: dict[Asked, None] = {}
        for job in jobs:
            values = again.of_job(job.payload, seed="")
            if values["prompt"].strip():
                found.setdefault(Asked(values["prompt"], values["negative_prompt"]))
        return list(found)[:HISTORY_PROMPTS]


def new_ticket() -> str:
    """What tells a form that is sent twice from two forms."""
    return secrets.token_urlsafe(16)


def offered_variation(asked: Mapping[str, str]) -> str:
    """The picture that is varied, unless the variation begins with it already."""
    return "" if asked.get("from") == "picture" else asked.get("vary", "")


def input_view(value: str) -> InputView:
    return InputView(value, _input_url(value))


def _input_url(value: str) -> str:
    return f"/inputs/{value}" if _BLOB.fullmatch(value) else file_url(value)


def _open_folds(values: Values, problems: Problems) -> set[str]:
    found = {
        name
        for name, (errors, fields) in _FOLDS.items()
        if any(problems.get(it) for it in errors) or any(values[it] for it in fields)
    }
    return found | ({"picture"} if values.inputs else set()) | ({"loras"} if values.loras else set())
