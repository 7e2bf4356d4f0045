# SPDX-License-Identifier: Apache-2.0
"""What a list of pictures can be narrowed to, as query parameters: the same for the API and for the page."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, TypeVar

from fastapi import Query
from starlette.datastructures import QueryParams

from inglenook.base.errors import Invalid
from inglenook.base.ids import ModelId
from inglenook.door.problem import shown
from inglenook.gallery.model import MAX_TAGS, Filter, Shape, Source, tags_of
from inglenook.images.model import Mode

MAX_SEARCH_CHARS = 1000


class Order(StrEnum):
    NEWEST = "newest"
    OLDEST = "oldest"


class Wanted:
    """The query parameters of a list of pictures."""

    def __init__(
        self,
        search: Annotated[
            str,
            Query(max_length=MAX_SEARCH_CHARS, description="words in prompt, negative prompt, model or tags"),
        ] = "",
        model: Annotated[str | None, Query(max_length=500)] = None,
        favourite: bool | None = None,
        tag: Annotated[list[str] | None, Query(description="may be repeated; all of them")] = None,
        since: Annotated[str | None, Query(description="a day (2026-11-26) or a time, with it")] = None,
        until: Annotated[str | None, Query(description="a day, with it, or a time, without it")] = None,
        shape: Shape | None = None,
        width: Annotated[int | None, Query(ge=1, le=100_000)] = None,
        height: Annotated[int | None, Query(ge=1, le=100_000)] = None,
        mode: Mode | None = None,
        lora: Annotated[bool | None, Query(description="made with a LoRA, or without")] = None,
        source: Source | None = None,
        public: bool | None = None,
        trashed: Annotated[bool, Query(description="those in the trash instead of all others")] = False,
        order: Order = Order.NEWEST,
    ) -> None:
        tags = tags_of((tag or ())[: MAX_TAGS + 1])
        self.oldest_first = order is Order.OLDEST
        self._filter = Filter(
            search=search,
            model=ModelId(model) if model else None,
            favourite=favourite,
            tags=tags,
            since=None if not since else moment(since, field="since"),
            until=None if not until else moment(until, field="until", end=True),
            shape=shape,
            width=width,
            height=height,
            mode=None if mode is None else mode.value,
            has_lora=lora,
            source=source,
            public=public,
            trashed=trashed,
        )

    def filter(self) -> Filter:
        return self._filter

    @classmethod
    def of_form(cls, sent: QueryParams) -> "Wanted":
        """From a form's own query, in which a field that was left empty counts as not sent.

        Raises:
            Invalid: a value that is none of the field's.
        """
        given = {name: sent[name].strip() for name in FIELDS if sent.get(name, "").strip()}
        return cls(
            search=sent.get("search", "")[:MAX_SEARCH_CHARS],
            model=given.get("model"),
            favourite=_truth(given, "favourite"),
            tag=[tag for tag in sent.getlist("tag") if tag.strip()],
            since=given.get("since"),
            until=given.get("until"),
            shape=_choice(given, "shape", Shape),
            width=_pixels(given, "width"),
            height=_pixels(given, "height"),
            mode=_choice(given, "mode", Mode),
            lora=_truth(given, "lora"),
            source=_choice(given, "source", Source),
            public=_truth(given, "public"),
            trashed=_truth(given, "trashed") or False,
            order=_choice(given, "order", Order) or Order.NEWEST,
        )


FIELDS = (
    *("search", "model", "favourite", "since", "until", "shape", "width", "height", "mode", "lora"),
    *("source", "public", "trashed", "order"),
)
"""Those of a form that have one value; `tag` may have several."""
Choice = TypeVar("Choice", bound=StrEnum)


def _choice(given: Mapping[str, str], name: str, kind: type[Choice]) -> Choice | None:
    if name not in given:
        return None
    try:
        return kind(given[name])
    except ValueError:
        known = ", ".join(kind)
        raise Invalid(f"{name} is {shown(given[name])}; it must be one of {known}.", field=name) from None


def _truth(given: Mapping[str, str], name: str) -> bool | None:
    if name not in given:
        return None
    if given[name] not in ("true", "false"):
        raise Invalid(f"{name} is {shown(given[name])}; it must be true or false.", field=name)
    return given[name] == "true"


def _pixels(given: Mapping[str, str], name: str) -> int | None:
    if name not in given:
        return None
    text = given[name]
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 5):
        raise Invalid(f"{name} is {shown(text)}; it must be a number of pixels.", field=name)
    return int(text)


def moment(text: str, *, field: str, end: bool = False) -> datetime:
    """A day or a time in ISO 8601, in UTC unless it says otherwise; a day as its beginning, or its `end`.

    Raises:
        Invalid: it is neither.
    """
    try:
        if len(text) == 10:
            day = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
            return day + timedelta(days=1) if end else day
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise Invalid(
            f"{field} is {shown(text)}; it must be a day or a time.",
            field=field,
            hint="write it like 2026-11-26 or 2026-11-26T18:30:00Z",
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
