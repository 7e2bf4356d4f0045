# SPDX-License-Identifier: Apache-2.0
"""What of a data set a page shows, as its address says it: filters, order, and links that keep them. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from inglenook.studio.datasets.model import ImageQuery, Subset

SORTS: Final = {"filename": "by name", "class": "by class", "size": "by size", "added": "by time added"}
SUBSETS: Final = {"train": "train", "val": "validation", "test": "test", "none": "in no part"}
_NAMES: Final = (
    "filter_class",
    "search",
    "split_name",
    "subset",
    "group",
    "min_side",
    "sort_by",
    "sort_order",
)
USUAL: Final = {"sort_by": "filename", "sort_order": "asc"}
_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter that is set; `without` is the address without it."""

    words: str
    without: str


@dataclass(frozen=True, slots=True)
class DataQuery:
    """The pairs of an address below `place`, in their order, named as the API's list of pictures has them."""

    place: str
    pairs: tuple[tuple[str, str], ...] = field(default=())

    @classmethod
    def of(cls, place: str, sent: QueryParams) -> "DataQuery":
        """What cannot be meant is left out: a page shows rather more than nothing."""
        kept = [(name, sent[name][:_MAX]) for name in _NAMES if sent.get(name, "").strip()]
        if sent.get("unlabelled") == "true" and not sent.get("filter_class"):
            kept.append(("unlabelled", "true"))
        kept += [("tag", tag[:_MAX]) for tag in sent.getlist("tag") if tag.strip()]
        return cls(place, tuple(pair for pair in kept if _makes_sense(*pair)))

    def value(self, name: str) -> str:
        return next((value for key, value in self.pairs if key == name), USUAL.get(name, ""))

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(value for name, value in self.pairs if name == "tag")

    @property
    def unlabelled(self) -> bool:
        return self.value("unlabelled") == "true"

    @property
    def filters(self) -> tuple[tuple[str, str], ...]:
        return tuple(pair for pair in self.pairs if pair[0] not in USUAL)

    def images(self, splits: Mapping[str, str]) -> ImageQuery:
        """Args:
        splits: id by name, of those that are there. A filter by another one is left out.
        """
        named = self.value("filter_class")
        smallest = self.value("min_side")
        split = splits.get(self.value("split_name"))
        subset = cast("Subset | Literal['']", self.value("subset")) if split else ""
        return ImageQuery(
            labels=(named,) if named else ("",) if self.unlabelled else (),
            search=self.value("search"),
            tags=self.tags,
            group=self.value("group") or None,
            split=split,
            subset=subset or None,
            min_side=int(smallest) if smallest else None,
            sort=cast("Any", self.value("sort_by")),
            descending=self.value("sort_order") == "desc",
        )

    def selection(self) -> str:
        """The same filters as the API takes them (`filter`), as JSON: for what is done with all that fit."""
        chosen: dict[str, Any] = {name: value for name, value in self.filters if name != "tag"}
        if "min_side" in chosen:
            chosen["min_side"] = int(chosen["min_side"])
        if "unlabelled" in chosen:
            chosen["unlabelled"] = True
        if self.tags:
            chosen["tags"] = list(self.tags)
        return json.dumps(chosen)

    def address(self, **more: str) -> str:
        pairs = [(name, value) for name, value in self.pairs if name not in more]
        pairs += [(name, value) for name, value in more.items() if value]
        return self._address(pairs)

    def without(self, name: str, value: str) -> str:
        """A part of a split means nothing without the split."""
        gone = {(name, value)} | ({("subset", self.value("subset"))} if name == "split_name" else set())
        return self._address([pair for pair in self.pairs if pair not in gone])

    def chips(self) -> list[Chip]:
        return [Chip(_words(name, value), self.without(name, value)) for name, value in self.filters]

    def _address(self, pairs: list[tuple[str, str]]) -> str:
        return f"{self.place}?{urlencode(pairs)}" if pairs else self.place


def _makes_sense(name: str, value: str) -> bool:
    known: Mapping[str, Any] = {"sort_by": SORTS, "sort_order": ("asc", "desc"), "subset": SUBSETS}
    if name == "min_side":
        return value.isascii() and value.isdigit() and 0 < int(value[:9]) < 10**6 and len(value) < 7
    return name not in known or value in known[name]


def _words(name: str, value: str) -> str:
    said = {
        "filter_class": f"class {value[:60]}",
        "unlabelled": "without a class",
        "search": f"“{value[:60]}”",
        "split_name": f"split {value[:60]}",
        "subset": SUBSETS.get(value, value),
        "group": f"group {value[:60]}",
        "min_side": f"sides of {value} px and more",
        "tag": f"#{value[:60]}",
    }
    return said[name]
