# SPDX-License-Identifier: Apache-2.0
"""What of a data set a page shows, as its address says it."""

import json

import pytest
from starlette.datastructures import QueryParams

from inglenook.studio.datasets.model import ImageQuery
from inglenook.web.studio.query import DataQuery

PLACE = "/projects/proj-1/dataset"


def of(text: str) -> DataQuery:
    return DataQuery.of(PLACE, QueryParams(text))


def test_an_empty_address_asks_for_everything_by_name() -> None:
    query = of("")
    assert query.images({}) == ImageQuery()
    assert query.address() == PLACE
    assert (query.filters, query.chips(), query.selection()) == ((), [], "{}")


def test_every_filter_reaches_the_list_of_pictures() -> None:
    query = of(
        "filter_class=cat&search=img&split_name=first&subset=val&group=g1&min_side=64"
        "&sort_by=size&sort_order=desc&tag=a&tag=b"
    )
    assert query.images({"first": "split-1"}) == ImageQuery(
        labels=("cat",),
        search="img",
        tags=("a", "b"),
        group="g1",
        split="split-1",
        subset="val",
        min_side=64,
        sort="size",
        descending=True,
    )


def test_the_order_is_no_filter_and_everything_else_has_a_chip() -> None:
    query = of("filter_class=cat&sort_by=size&tag=new")
    assert [chip.words for chip in query.chips()] == ["class cat", "#new"]
    assert [chip.without for chip in query.chips()] == [
        f"{PLACE}?sort_by=size&tag=new",
        f"{PLACE}?filter_class=cat&sort_by=size",
    ]


def test_without_its_split_a_part_means_nothing() -> None:
    query = of("split_name=first&subset=val&search=a")
    assert query.without("split_name", "first") == f"{PLACE}?search=a"
    gone = query.images({"another": "split-2"})
    assert (gone.split, gone.subset) == (None, None)


def test_pictures_without_a_class_are_asked_for_only_where_no_class_is() -> None:
    assert of("unlabelled=true").images({}).labels == ("",)
    assert of("unlabelled=true&filter_class=cat").images({}).labels == ("cat",)


@pytest.mark.parametrize(
    "nonsense",
    [
        "sort_by=colour",
        "sort_order=up",
        "subset=half",
        "min_side=-3",
        "min_side=1e9",
        "min_side=²",
        "tag=%20",
    ],
)
def test_what_cannot_be_meant_is_left_out(nonsense: str) -> None:
    assert of(nonsense).pairs == ()


def test_a_selection_says_the_same_in_the_words_of_the_api() -> None:
    query = of("filter_class=cat&unlabelled=true&min_side=64&tag=a&tag=b&sort_by=size")
    assert json.loads(query.selection()) == {"filter_class": "cat", "min_side": 64, "tags": ["a", "b"]}
    assert json.loads(of("unlabelled=true").selection()) == {"unlabelled": True}
