# SPDX-License-Identifier: Apache-2.0
"""/api/splits: which pictures train, which validate, which test."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from inglenook.api.projects.envelope import (
    REFUSALS,
    BodyInvalid,
    EnvelopeRoute,
    answer,
    converted,
    fields,
    invalid_field,
)
from inglenook.base.errors import Invalid
from inglenook.door.caller import Caller, FromCaller, caller
from inglenook.studio.splits.model import Method, Options, Part, Plan, Preview, Ratios, SplitState
from inglenook.studio.studio import Studio

T = TypeVar("T")
_PARTS = ("train", "val", "test")


class NewSplit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`ratios`, or `train`, `val` and `test` beside the name."""

    name: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    ratios: Ratios | None = None
    train: float | None = None
    val: float | None = None
    test: float | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] | None = None
    method: Method = "stratified"
    options: Options = Options()

    def plan(self) -> Plan:
        """Raises BodyInvalid."""
        ratios = self.ratios
        if ratios is None and any(it is not None for it in (self.train, self.val, self.test)):
            given = {name: getattr(self, name) or 0.0 for name in _PARTS}
            ratios = converted(given, Ratios)
        return Plan(method=self.method, ratios=ratios, seed=self.seed or 0, options=self.options)


def splits_router(studio: Studio) -> APIRouter:
    router = APIRouter(
        prefix="/api/splits/{project_id}",
        tags=["splits"],
        dependencies=[Depends(caller)],
        route_class=EnvelopeRoute,
        responses=REFUSALS,
    )
    splits = studio.splits

    @router.get("", summary="The project's splits, in the order in which they were made")
    async def listing(request: Request, who: FromCaller, project_id: str) -> Response:
        def found() -> dict[str, Any]:
            data: dict[str, Any] = {"splits": [as_json(it) for it in splits.list(project_id)]}
            problems = splits.problems(project_id)
            return {**data, "problems": list(problems)} if problems else data

        return await answer(request, who, "splits.list", await _allowed(studio, who, project_id, found))

    @router.post("", summary="Make a split, which never changes; of k-fold, one for each fold")
    async def create(request: Request, who: FromCaller, project_id: str) -> Response:
        body = await _new_split(request)
        made = await _allowed(
            studio,
            who,
            project_id,
            lambda: splits.create(project_id, body.name, body.plan(), by=who.person),
            write=True,
        )
        data = _created(made)
        headers = {"HX-Trigger": json.dumps({"split-created": {"name": made[0].split.name}})}
        return await answer(request, who, "splits.create", data, fragment_headers=headers)

    @router.get("/preview", summary="What a split would be like")
    async def preview(
        request: Request,
        who: FromCaller,
        project_id: str,
        ratios: Annotated[str | None, Query(max_length=1000)] = None,
        train: float | None = None,
        val: float | None = None,
        test: float | None = None,
        seed: Annotated[str, Query(max_length=20)] = "",
        method: Method = "stratified",
        options: Annotated[str, Query(max_length=10_000)] = "",
    ) -> Response:
        given = {"ratios": ratios, "train": train, "val": val, "test": test, "method": method}
        given |= {"seed": seed or None, "options": options or None}
        body = _read({name: value for name, value in given.items() if value is not None}, is_form=True)
        return await _previewed(request, who, project_id, body)

    @router.post("/preview", summary="What a split would be like, with everything that a split can have")
    async def preview_of_body(request: Request, who: FromCaller, project_id: str) -> Response:
        return await _previewed(request, who, project_id, await _new_split(request))

    async def _previewed(request: Request, who: Caller, project_id: str, body: NewSplit) -> Response:
        plan = body.plan()
        found = await _allowed(studio, who, project_id, lambda: splits.preview(project_id, plan))
        return await answer(request, who, "splits.preview", preview_json(found))

    @router.get("/{split_name}", summary="One split")
    async def one(request: Request, who: FromCaller, project_id: str, split_name: str) -> Response:
        found = await _allowed(studio, who, project_id, lambda: splits.get(project_id, split_name))
        return await answer(request, who, "splits.get", as_json(found))

    @router.get("/{split_name}/users", summary="Names of the experiments that use a split")
    async def users(request: Request, who: FromCaller, project_id: str, split_name: str) -> Response:
        found = await _allowed(studio, who, project_id, lambda: splits.users(project_id, split_name))
        return await answer(request, who, "splits.users", {"experiments": list(found)})

    @router.delete("/{split_name}", summary="Delete a split")
    async def delete(request: Request, who: FromCaller, project_id: str, split_name: str) -> Response:
        users = await _allowed(
            studio, who, project_id, lambda: splits.delete(project_id, split_name), write=True
        )
        data: dict[str, Any] = {"project_id": project_id, "split_name": split_name, "deleted": True}
        if users:
            data["warnings"] = [f"Experiments were made with it: {', '.join(users)}."]
        return await answer(request, who, "splits.delete", data)

    return router


async def _allowed(
    studio: Studio, who: Caller, project_id: str, work: Callable[[], T], *, write: bool = False
) -> T:
    def allowed() -> T:
        studio.projects.require(who.person, project_id, write=write)
        return work()

    try:
        return await asyncio.to_thread(allowed)
    except Invalid as error:
        raise invalid_field(error) from None


async def _new_split(request: Request) -> NewSplit:
    given, is_form = await fields(request)
    return _read(given, is_form=is_form)


def _read(given: dict[str, Any], *, is_form: bool) -> NewSplit:
    """`ratios` may also be three numbers in a list, or in a text with commas. Raises BodyInvalid."""
    found = {name: value for name, value in given.items() if value != ""}
    for name in ("ratios", "options"):
        text = found.get(name)
        if isinstance(text, str):
            found[name] = _from_text(name, text)
    ratios = found.get("ratios")
    if isinstance(ratios, list):
        if len(ratios) != len(_PARTS):
            raise _wrong("ratios", "must be three numbers: train, val, test")
        found["ratios"] = dict(zip(_PARTS, ratios, strict=True))
    return converted(found, NewSplit, is_form=is_form)


def _from_text(name: str, text: str) -> Any:
    stripped = text.strip()
    try:
        if stripped[:1] in ("{", "["):
            return json.loads(stripped)
        if name == "ratios":
            return [float(it) for it in stripped.split(",")]
    except (ValueError, RecursionError):
        pass
    raise _wrong(name, f"cannot be read: {text[:60]!r}")


def _wrong(name: str, why: str) -> BodyInvalid:
    return BodyInvalid([{"loc": ["body", name], "msg": why, "type": "value_error"}])


# -- what is answered ------------------------------------------------------------------------------------


def as_json(state: SplitState) -> dict[str, Any]:
    split = state.split
    return {
        "id": split.id,
        "name": split.name,
        "index": state.index,
        "immutable": True,
        "stats": state.stats,
        "class_distribution": state.class_distribution,
        "gone": state.gone,
        "method": split.method,
        "ratios": msgspec.to_builtins(split.ratios),
        "seed": split.seed,
        "options": _options(split.options),
        "created_at": split.created_at,
        "created_by": split.created_by,
        "dataset_version": split.dataset_version,
        "warnings": list(split.warnings),
    }


def _options(options: Options) -> dict[str, Any]:
    """Without what was given by hand, which may be long: the split itself says who is where."""
    said: dict[str, Any] = msgspec.to_builtins(options)
    del said["assignments"]
    return said


def _created(made: Sequence[SplitState]) -> dict[str, Any]:
    data = as_json(made[0])
    return data if len(made) == 1 else {**data, "splits": [as_json(it) for it in made]}


def preview_json(found: Preview) -> dict[str, Any]:
    plan = found.plan
    data = {
        "ratios": msgspec.to_builtins(plan.ratios),
        "seed": plan.seed,
        "method": plan.method,
        "options": _options(plan.options),
        "dataset_version": found.dataset_version,
        **_counts(found.parts[0]),
        "warnings": list(found.warnings),
    }
    return data if len(found.parts) == 1 else {**data, "folds": [_counts(it) for it in found.parts]}


def _counts(part: Part) -> dict[str, Any]:
    return {"stats": part.stats, "class_distribution": part.class_distribution}
