# SPDX-License-Identifier: Apache-2.0
"""/api/datasets: the pictures of a project, their labels, tags and versions."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from inglenook.api.projects.envelope import (
    REFUSALS,
    BodyInvalid,
    EnvelopeRoute,
    answer,
    has_fragment,
    invalid_field,
    parsed,
)
from inglenook.api.projects.files import image_file, thumbnail_file
from inglenook.base.errors import Invalid, NotFound
from inglenook.door.caller import Caller, FromCaller, caller
from inglenook.studio.datasets.model import ImageQuery, ImageRecord, Subset
from inglenook.studio.datasets.thumbnails import SIDES_PX
from inglenook.studio.errors import DatasetNotImported
from inglenook.studio.studio import Studio
from inglenook.vision.annotations import primary_class

T = TypeVar("T")
Text = Annotated[str, msgspec.Meta(max_length=1000)]
Name = Annotated[str, Query(max_length=1000)]
Side = IntEnum("Side", {"SMALL": SIDES_PX[0], "LARGE": SIDES_PX[1]})
_NO_SPLIT: Subset = "none"
_CHUNK = 500
"""Pictures that are written at once into the answer that holds them all."""


class Filter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which pictures, by the names of the list's parameters."""

    filter_class: Text = ""
    unlabelled: bool = False
    search: Text = ""
    tags: tuple[Text, ...] = ()
    group: Text = ""
    split_name: Text = ""
    subset: Subset | None = None
    min_side: int | None = None

    def query(self) -> ImageQuery:
        labels = (self.filter_class,) if self.filter_class else ("",) if self.unlabelled else ()
        return ImageQuery(
            labels=labels,
            search=self.search,
            tags=self.tags,
            group=self.group or None,
            split=self.split_name or None,
            subset=self.subset,
            min_side=self.min_side,
        )


class Selection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`ids`: ids or filenames; or `filter`, for all that fit."""

    ids: tuple[Text, ...] = ()
    filter: Filter | None = None


class Relabel(Selection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`class_name`: null or empty takes the class away."""

    class_name: Text | None


class Retag(Selection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    add: tuple[Text, ...] = ()
    remove: tuple[Text, ...] = ()


class Rename(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    old: Text
    new: Text


class Merge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    names: tuple[Text, ...]
    into: Text


def datasets_router(studio: Studio) -> APIRouter:
    router = APIRouter(
        prefix="/api/datasets/{project_id}",
        tags=["data sets"],
        dependencies=[Depends(caller)],
        route_class=EnvelopeRoute,
        responses=REFUSALS,
    )
    _reading_routes(router, studio)
    _file_routes(router, studio)
    _changing_routes(router, studio)
    _version_routes(router, studio)
    return router


def _reading_routes(router: APIRouter, studio: Studio) -> None:
    datasets = studio.datasets

    @router.get("", summary="The data set with every picture; without them: `images=false`")
    async def one(request: Request, who: FromCaller, project_id: str, images: bool = True) -> Response:
        try:
            data = await _reading(studio, who, project_id, lambda: _metadata(studio, project_id))
        except NotFound as error:
            if error.code == "dataset.not_found" and has_fragment(request, "datasets.get"):
                return await answer(request, who, "datasets.get", {})
            raise
        if not images:
            return await answer(request, who, "datasets.get", data)
        return await _streamed(request, who, studio, project_id, data)

    @router.get("/images", summary="A page of the pictures that fit: by its number, or by `after`")
    async def images(
        request: Request,
        who: FromCaller,
        project_id: str,
        page: Annotated[int, Query(ge=1, le=10_000_000)] = 1,
        page_size: Annotated[int, Query(ge=1, le=500)] = 50,
        sort_by: Literal["filename", "class", "size", "added"] = "filename",
        sort_order: Literal["asc", "desc"] = "asc",
        filter_class: Name = "",
        unlabelled: bool = False,
        search: Name = "",
        split_name: Annotated[str | None, Query(max_length=1000)] = None,
        subset: Literal["train", "val", "test", "none", ""] = "",
        tag: Annotated[list[str] | None, Query(max_length=50)] = None,
        group: Name = "",
        min_side: Annotated[int | None, Query(ge=1)] = None,
        after: Annotated[
            str | None,
            Query(max_length=2000, description="empty for the first page, then what the last one said"),
        ] = None,
    ) -> Response:
        asked = Filter(
            filter_class=filter_class,
            unlabelled=unlabelled,
            search=search,
            tags=tuple(tag or ()),
            group=group,
            min_side=min_side,
        ).query()
        asked = msgspec.structs.replace(
            asked, sort=sort_by, descending=sort_order == "desc", subset=subset or None
        )
        data = await _reading(
            studio,
            who,
            project_id,
            lambda: _listing(studio, project_id, asked, split_name, page, page_size, after),
        )
        return await answer(request, who, "datasets.images", data)

    @router.get("/images/{filename}/info", summary="A picture's record")
    async def info(request: Request, who: FromCaller, project_id: str, filename: str) -> Response:
        def found() -> dict[str, Any]:
            record = datasets.get(project_id, filename)
            splits = studio.splits.summaries(project_id)
            parts = datasets.subsets(project_id, [record.id], [it.id for it in splits])[record.id]
            values = [parts.get(it.id, _NO_SPLIT) for it in splits]
            return {"image": image_json(record, values), "split_names": [it.name for it in splits]}

        data = await _reading(studio, who, project_id, found)
        return await answer(request, who, "datasets.info", data)

    @router.get("/classes", summary="Pictures by class, also of a part of a split")
    async def classes(
        request: Request,
        who: FromCaller,
        project_id: str,
        split_name: Name = "",
        subset: Literal["train", "val", "test", "none", ""] = "",
    ) -> Response:
        query = ImageQuery(split=split_name or None, subset=subset or None)
        counts = await _reading(studio, who, project_id, lambda: datasets.class_counts(project_id, query))
        return await answer(request, who, "datasets.classes", {"classes": dict(counts)})

    @router.get("/tags", summary="Pictures by tag")
    async def tags(request: Request, who: FromCaller, project_id: str) -> Response:
        counts = await _reading(studio, who, project_id, lambda: datasets.tag_counts(project_id))
        return await answer(request, who, "datasets.tags", {"tags": dict(counts)})


def _file_routes(router: APIRouter, studio: Studio) -> None:
    datasets = studio.datasets

    @router.head("/images/{filename}", include_in_schema=False)
    @router.get("/images/{filename}", summary="The picture's own file")
    async def file(request: Request, who: FromCaller, project_id: str, filename: str) -> Response:
        def found() -> Response:
            record = datasets.get(project_id, filename)
            return image_file(request, datasets.file(project_id, record), record)

        return await _reading(studio, who, project_id, found)

    @router.head("/thumbnails/{filename}", include_in_schema=False)
    @router.get("/thumbnails/{filename}", summary="The picture, small, as WebP")
    async def thumbnail(
        request: Request, who: FromCaller, project_id: str, filename: str, size: Side = Side.LARGE
    ) -> Response:
        record = await _reading(studio, who, project_id, lambda: datasets.get(project_id, filename))
        side_px = int(size)
        making = await asyncio.to_thread(datasets.thumbnail, project_id, record, side_px=side_px)
        return thumbnail_file(request, await asyncio.wrap_future(making), record, side_px)


def _changing_routes(router: APIRouter, studio: Studio) -> None:
    datasets = studio.datasets

    @router.delete("", summary="Delete the data set with all its versions and files, and its splits")
    async def clear(request: Request, who: FromCaller, project_id: str) -> Response:
        await _writing(studio, who, project_id, lambda: datasets.clear(project_id))
        data = {"project_id": project_id, "cleared": True}
        return await answer(request, who, "datasets.clear", data)

    @router.post("/relabel", summary="Give pictures a class, or take theirs away")
    async def relabel(request: Request, who: FromCaller, project_id: str) -> Response:
        body = await parsed(request, Relabel)
        note = await _writing(
            studio,
            who,
            project_id,
            lambda: datasets.relabel(
                project_id, _chosen(studio, project_id, body), body.class_name or None, by=who.person
            ),
        )
        return await answer(request, who, "datasets.relabel", msgspec.to_builtins(note))

    @router.post("/tags", summary="Add and remove tags")
    async def retag(request: Request, who: FromCaller, project_id: str) -> Response:
        body = await parsed(request, Retag)
        note = await _writing(
            studio,
            who,
            project_id,
            lambda: datasets.tag(
                project_id,
                _chosen(studio, project_id, body),
                add=body.add,
                remove=body.remove,
                by=who.person,
            ),
        )
        return await answer(request, who, "datasets.retag", msgspec.to_builtins(note))

    @router.post("/remove", summary="Take pictures out; earlier versions keep them")
    async def remove(request: Request, who: FromCaller, project_id: str) -> Response:
        body = await parsed(request, Selection)
        note = await _writing(
            studio,
            who,
            project_id,
            lambda: datasets.remove(project_id, _chosen(studio, project_id, body), by=who.person),
        )
        return await answer(request, who, "datasets.remove", msgspec.to_builtins(note))

    @router.delete("/images/{filename}", summary="Take one picture out; earlier versions keep it")
    async def remove_one(request: Request, who: FromCaller, project_id: str, filename: str) -> Response:
        note = await _writing(
            studio,
            who,
            project_id,
            lambda: datasets.remove(project_id, datasets.ids_of(project_id, [filename]), by=who.person),
        )
        return await answer(request, who, "datasets.remove", msgspec.to_builtins(note))

    @router.post("/classes/rename", summary="Call a class otherwise")
    async def rename(request: Request, who: FromCaller, project_id: str) -> Response:
        body = await parsed(request, Rename)
        note = await _writing(
            studio,
            who,
            project_id,
            lambda: datasets.rename_class(project_id, body.old, body.new, by=who.person),
        )
        return await answer(request, who, "datasets.rename", msgspec.to_builtins(note))

    @router.post("/classes/merge", summary="Make several classes one")
    async def merge(request: Request, who: FromCaller, project_id: str) -> Response:
        body = await parsed(request, Merge)
        note = await _writing(
            studio,
            who,
            project_id,
            lambda: datasets.merge_classes(project_id, body.names, body.into, by=who.person),
        )
        return await answer(request, who, "datasets.merge", msgspec.to_builtins(note))


def _version_routes(router: APIRouter, studio: Studio) -> None:
    datasets = studio.datasets

    @router.get(
        "/versions", summary="A page of the versions, oldest first; `sort_order=desc` turns them round"
    )
    async def versions(
        request: Request,
        who: FromCaller,
        project_id: str,
        page: Annotated[int, Query(ge=1, le=10_000_000)] = 1,
        page_size: Annotated[int, Query(ge=1, le=1000)] = 100,
        sort_order: Literal["asc", "desc"] = "asc",
    ) -> Response:
        notes = list(await _reading(studio, who, project_id, lambda: datasets.versions(project_id)))
        ordered = notes if sort_order == "asc" else notes[::-1]
        some = ordered[(page - 1) * page_size : page * page_size]
        data = {
            "versions": [msgspec.to_builtins(it) for it in some],
            "current": notes[-1].number,
            "page": page,
            "page_size": page_size,
            "total_items": len(notes),
            "total_pages": -(-len(notes) // page_size),
        }
        return await answer(request, who, "datasets.versions", data)

    @router.post("/versions/{number}/return", summary="Make a new version that is like an earlier one")
    async def return_to(request: Request, who: FromCaller, project_id: str, number: int) -> Response:
        note = await _writing(
            studio, who, project_id, lambda: datasets.return_to(project_id, number, by=who.person)
        )
        return await answer(request, who, "datasets.return", msgspec.to_builtins(note))

    @router.post("/purge", summary="Forget earlier versions, and delete the files that nothing needs")
    async def purge(request: Request, who: FromCaller, project_id: str) -> Response:
        gone = await _writing(studio, who, project_id, lambda: datasets.purge(project_id))
        data = {"project_id": project_id, "files_deleted": gone}
        return await answer(request, who, "datasets.purge", data)


# -- in a thread -----------------------------------------------------------------------------------------


async def whole_dataset(request: Request, who: Caller, studio: Studio, project_id: str) -> Response:
    """The data set with every picture, or the fragment of it: also what an import answers with.

    Raises ProjectNotFound; NotFound: there is no data set.
    """
    data = await _reading(studio, who, project_id, lambda: _metadata(studio, project_id))
    return await _streamed(request, who, studio, project_id, data)


async def _streamed(
    request: Request, who: Caller, studio: Studio, project_id: str, data: dict[str, Any]
) -> Response:
    if has_fragment(request, "datasets.get"):
        return await answer(request, who, "datasets.get", data)
    return StreamingResponse(
        _whole(studio, project_id, data), media_type="application/json", headers=_NO_STORE
    )


async def _reading(studio: Studio, who: Caller, project_id: str, work: Callable[[], T]) -> T:
    """Raises NotFound (`dataset.not_found`) where there is no data set: here it is the thing asked for."""

    def allowed() -> T:
        studio.projects.require(who.person, project_id, write=False)
        try:
            return work()
        except DatasetNotImported as error:
            raise NotFound(error.message, code="dataset.not_found", hint=error.hint) from None

    return await asyncio.to_thread(allowed)


async def _writing(studio: Studio, who: Caller, project_id: str, work: Callable[[], T]) -> T:
    def allowed() -> T:
        studio.projects.require(who.person, project_id, write=True)
        return work()

    try:
        return await asyncio.to_thread(allowed)
    except Invalid as error:
        raise invalid_field(error) from None


def _chosen(studio: Studio, project_id: str, selection: Selection) -> list[str]:
    if selection.filter is not None and not selection.ids:
        return studio.datasets.ids(project_id, selection.filter.query())
    if selection.filter is None:
        return studio.datasets.ids_of(project_id, selection.ids)
    raise BodyInvalid([{"loc": ["body"], "msg": "either `ids` or `filter`, not both", "type": "value_error"}])


# -- what is answered ------------------------------------------------------------------------------------

_NO_STORE = {"cache-control": "no-store"}


def _metadata(studio: Studio, project_id: str) -> dict[str, Any]:
    head = studio.datasets.head(project_id)
    data: dict[str, Any] = msgspec.to_builtins(head)
    return {**data, "split_names": list(studio.splits.names(project_id))}


def _whole(studio: Studio, project_id: str, data: dict[str, Any]) -> Iterator[bytes]:
    """The envelope, a few hundred pictures at a time."""
    splits = [studio.splits.assignments(project_id, it.id) for it in studio.splits.summaries(project_id)]
    head = msgspec.json.encode({"status": "ok", "data": data}).removesuffix(b"}}")
    yield head + b',"images":['
    some: list[dict[str, Any]] = []
    first = True
    for record in studio.datasets.iterate(project_id):
        some.append(image_json(record, [it.get(record.id, _NO_SPLIT) for it in splits]))
        if len(some) == _CHUNK:
            yield (b"" if first else b",") + msgspec.json.encode(some)[1:-1]
            some, first = [], False
    yield (b"" if first or not some else b",") + msgspec.json.encode(some)[1:-1] + b"]}}"


def image_json(record: ImageRecord, split: Sequence[str]) -> dict[str, Any]:
    """A picture as AI Studio's clients know it, and what we know besides."""
    said: dict[str, Any] = msgspec.to_builtins(record)
    return {**said, "split": list(split), "class_name": primary_class(record.annotations)}


def _listing(
    studio: Studio,
    project_id: str,
    query: ImageQuery,
    split_name: str | None,
    page: int,
    page_size: int,
    after: str | None,
) -> dict[str, Any]:
    datasets = studio.datasets
    splits = studio.splits.summaries(project_id)
    selected = None if split_name == "" else next((it for it in splits if it.name == split_name), None)
    if selected is None and split_name != "" and splits:
        selected = splits[0]
    if selected is not None:
        query = msgspec.structs.replace(query, split=selected.id)
    data: dict[str, Any] = {"page": page, "page_size": page_size}
    if after is None:
        records, total = datasets.page(project_id, query, page=page, page_size=page_size)
    else:
        found = datasets.images(project_id, query, limit=page_size, after=after or None)
        records, total = found.images, datasets.count(project_id, query)
        data["after"] = found.after
    parts = datasets.subsets(project_id, [it.id for it in records], [it.id for it in splits])
    items = []
    for record in records:
        values = [parts[record.id].get(it.id, _NO_SPLIT) for it in splits]
        value = None if selected is None else parts[record.id].get(selected.id, _NO_SPLIT)
        items.append(_item(record, values, value))
    return {
        **data,
        "total_items": total,
        "total_pages": -(-total // page_size),
        "selected_split_name": "" if selected is None else selected.name,
        "items": items,
    }


def _item(record: ImageRecord, values: list[str], selected: str | None) -> dict[str, Any]:
    return {
        "id": record.id,
        "filename": record.filename,
        "width": record.width,
        "height": record.height,
        "class_name": primary_class(record.annotations),
        "split": values,
        "selected_split_value": selected,
        "annotation_count": len(record.annotations),
        "tags": list(record.tags),
        "size_bytes": record.size_bytes,
        "group": record.group,
    }
