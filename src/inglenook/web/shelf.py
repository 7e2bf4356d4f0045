# SPDX-License-Identifier: Apache-2.0
"""The gallery as the page shows it: tiles, the filters that are set, and addresses that keep them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from inglenook.base.units import format_bytes
from inglenook.door.filters import FIELDS
from inglenook.gallery.archive import file_name
from inglenook.gallery.model import UNKNOWN_SEED, Picture, Source
from inglenook.web.pictures import PIXEL_SIDE_PX, parameter_rows

PLACE = "/gallery"
WORDS = {
    "favourite": {"true": "favourites", "false": "no favourites"},
    "shape": {"square": "square", "landscape": "landscape", "portrait": "portrait"},
    "mode": {
        "text": "from words",
        "image": "from a picture",
        "inpaint": "inside a mask",
        "edit": "by instruction",
    },
    "lora": {"true": "with LoRA", "false": "without LoRA"},
    "source": {"made": "made here", "imported": "imported"},
    "public": {"true": "public", "false": "private"},
}
"""What the values of a filter mean."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One tile."""

    id: str
    url: str
    thumbnail: str
    page: str
    width: int
    height: int
    prompt: str
    model: str
    favourite: bool
    trashed: bool

    @property
    def pixelated(self) -> bool:
        return max(self.width, self.height) <= PIXEL_SIDE_PX

    @property
    def name(self) -> str:
        """For those who hear it, and for the picture itself."""
        return self.prompt[:200] or f"Picture without words, {self.width} × {self.height}"


@dataclass(frozen=True, slots=True)
class Details:
    """Everything about one picture, for the viewer."""

    shot: Shot
    tags: tuple[str, ...]
    negative: str
    rows: list[tuple[str, str]]
    foreign: list[tuple[str, str]]
    software: str
    file_name: str
    file_words: str
    created_at: str
    imported: bool
    can_repeat: bool


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter that is set; `without` is the address of the page without it."""

    words: str
    without: str


@dataclass(frozen=True, slots=True)
class Query:
    """The filters of a page's address, in their order, so that every link of the page keeps them."""

    pairs: tuple[tuple[str, str], ...] = field(default=())

    @classmethod
    def of(cls, sent: QueryParams) -> "Query":
        kept = [(name, sent[name]) for name in FIELDS if sent.get(name, "").strip()]
        return cls((*kept, *(("tag", tag) for tag in sent.getlist("tag") if tag.strip())))

    def value(self, name: str) -> str:
        return next((value for key, value in self.pairs if key == name), "")

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(value for name, value in self.pairs if name == "tag")

    @property
    def trashed(self) -> bool:
        return self.value("trashed") == "true"

    @property
    def narrowed(self) -> bool:
        """Whether anything but the order is asked for."""
        return any(name not in ("order", "trashed") for name, _ in self.pairs)

    @property
    def folded(self) -> bool:
        """Whether one of the less usual filters is set."""
        return any(name not in ("order", "trashed", "search", "favourite", "tag") for name, _ in self.pairs)

    def address(self, **more: str) -> str:
        pairs = [(name, value) for name, value in self.pairs if name not in more]
        pairs += [(name, value) for name, value in more.items() if value]
        return f"{PLACE}?{urlencode(pairs)}" if pairs else PLACE

    def without(self, name: str, value: str) -> str:
        pairs = [pair for pair in self.pairs if pair != (name, value)]
        return f"{PLACE}?{urlencode(pairs)}" if pairs else PLACE

    def with_tag(self, tag: str) -> str:
        return f"{PLACE}?{urlencode([*self.pairs, ('tag', tag)])}"

    def chips(self) -> list[Chip]:
        shown = []
        for name, value in self.pairs:
            if name in ("order", "trashed"):
                continue
            shown.append(Chip(_chip_words(name, value), self.without(name, value)))
        return shown


def _chip_words(name: str, value: str) -> str:
    said = WORDS.get(name, {}).get(value)
    if said is not None:
        return said
    before = {
        "search": "“",
        "tag": "#",
        "since": "from ",
        "until": "until ",
        "width": "width ",
        "height": "height ",
    }
    after = {"search": "”", "width": " px", "height": " px"}
    return f"{before.get(name, '')}{value[:60]}{after.get(name, '')}"


def shot_of(picture: Picture) -> Shot:
    address = f"/v1/pictures/{picture.id}"
    trashed = picture.deleted_at is not None
    more = "?trashed=true" if trashed else ""
    return Shot(
        id=picture.id,
        url=f"{address}/file{more}",
        thumbnail=f"{address}/thumbnail{more}",
        page=f"/pictures/{picture.id}",
        width=picture.width,
        height=picture.height,
        prompt=picture.prompt,
        model=picture.model,
        favourite=picture.favourite,
        trashed=trashed,
    )


def details_of(picture: Picture) -> Details:
    known: dict[str, Any] = {**picture.parameters, "model": picture.model}
    foreign = known.pop("foreign", None)
    software = str(known.pop("software", ""))
    if picture.seed != UNKNOWN_SEED:
        known["seed"] = picture.seed
    return Details(
        shot=shot_of(picture),
        tags=picture.tags,
        negative=picture.negative_prompt,
        rows=[(label, value) for label, value in parameter_rows(known) if label != "Without"],
        foreign=[(str(name), str(value)) for name, value in foreign.items()]
        if isinstance(foreign, dict)
        else [],
        software=software,
        file_name=file_name(picture),
        file_words=f"{picture.media_type.removeprefix('image/').upper()}, {format_bytes(picture.size_bytes)}",
        created_at=picture.created_at.isoformat(),
        imported=picture.source is Source.IMPORTED,
        can_repeat=bool(picture.prompt),
    )


def suggestions(tags: Sequence[tuple[str, int]], query: Query, *, most: int) -> list[tuple[str, int, str]]:
    """Tags that would narrow the page: name, number of pictures, address."""
    return [(name, count, query.with_tag(name)) for name, count in tags if name not in query.tags][:most]
