# SPDX-License-Identifier: Apache-2.0
"""The catalogue: which models there are, by the names that clients write."""

import difflib
import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from inglenook.base.ids import ModelId
from inglenook.catalog.errors import ModelAmbiguous, ModelNotFound, ModelUnusable, unusable
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.catalog.parts import with_parts
from inglenook.catalog.projectors import with_projectors
from inglenook.catalog.reading import read_model
from inglenook.catalog.scan import Fingerprint, Found, find_models, fingerprint

BUILTIN_MODELS = Path(__file__).with_name("builtin")
"""The models that ship inside the package."""

AUTO = ModelId("auto")
"""Stands for the default picture model; no model can have it as its id."""

ALICE_PREFIX = "sd/"
"""ALICE's clients write it before every picture model."""

_FIELDS = {ModelKind.LORA: "loras", ModelKind.EMBEDDING: "prompt", ModelKind.VAE: "vae"}
"""The field of a request that names a thing of this kind."""

_BRINGS = {
    ModelKind.LANGUAGE: "`inglenook starters install chat` brings a small one; or ",
    ModelKind.SPEECH: "`inglenook starters install speech` brings a small one; or ",
    ModelKind.MATTING: "`inglenook starters install matting` brings a small one; or ",
    ModelKind.VISION: "export an experiment of the studio and register it; or ",
}
"""How to get a first model of a kind."""

MLX = "mlx"
"""`ModelRecord.engine` of a model that was converted for MLX."""

_log = logging.getLogger(__name__)


class CatalogService:
    """Models below a few folders. Every method blocks on the disk and may be called from any thread.

    Args:
        roots: the person's model folders, in order; one that does not exist is passed over.
        builtin: the folder of the models that came with the package; its models stand last.
        starters: the folder of the starters, which count as built in; their models stand before those.
        picture_model: what "auto" means: a name that `resolve` takes, or "auto" for the first usable model in
            the order of `list`: the person's own before those that came with the package.

    Nothing is read before the first call.
    """

    def __init__(
        self, *, roots: Sequence[Path], builtin: Path, starters: Path | None = None, picture_model: str = AUTO
    ) -> None:
        shipped = [builtin] if starters is None else [starters, builtin]
        self._roots = [(root, False) for root in roots] + [(root, True) for root in shipped]
        self._picture_model = picture_model
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[Fingerprint, ModelRecord]] = {}
        self._records: dict[ModelId, ModelRecord] | None = None

    def refresh(self) -> None:
        """Look at the folders again. A model whose files have the same times and sizes is not read again."""
        with self._lock:
            found = [(root, builtin, one) for root, builtin in self._roots for one in _find(root)]
            ids = _assign_ids([one for _, _, one in found])
            fresh: dict[Path, tuple[Fingerprint, ModelRecord]] = {}
            records: dict[ModelId, ModelRecord] = {}  # as their own files tell; what they borrow comes after
            for (root, builtin, one), model_id in zip(found, ids, strict=True):
                try:
                    mark = fingerprint(one.path)
                    record = self._record(one.path, mark, model_id=model_id, root=root, builtin=builtin)
                except FileNotFoundError:
                    continue  # it went away between the walk and now
                fresh[one.path] = (mark, record)
                records[model_id] = record
            self._read = fresh
            whole = with_projectors(with_parts(list(records.values())))
            self._records = {record.id: record for record in whole}

    def _record(
        self, path: Path, mark: Fingerprint, *, model_id: ModelId, root: Path, builtin: bool
    ) -> ModelRecord:
        known = self._read.get(path)
        if known is None or known[0] != mark:
            return read_model(path, model_id=model_id, root=root, builtin=builtin)
        record = known[1]
        return record if record.id == model_id else replace(record, id=model_id)

    def _all(self) -> dict[ModelId, ModelRecord]:
        if self._records is None:
            self.refresh()
        assert self._records is not None
        return self._records

    def list(self, kind: ModelKind | None = None) -> list[ModelRecord]:
        """All models, or those of a kind: the person's folders in order, then the package's; each by id.
        Models that cannot be used are among them, with their `problem`. Looks at the folders again."""
        self.refresh()
        return [record for record in self._all().values() if kind is None or record.kind is kind]

    def known(self, kind: ModelKind | None = None) -> Sequence[ModelRecord]:
        """As `list`, by what the last look at the folders found."""
        return [record for record in self._all().values() if kind is None or record.kind is kind]

    @property
    def has_looked(self) -> bool:
        """Whether the folders were looked at: until then every question blocks on the disk."""
        return self._records is not None

    def has(self, model_id: ModelId) -> bool:
        """Whether there is a model with exactly this id, by what the last look at the folders found."""
        return model_id in self._all()

    def get(self, model_id: ModelId) -> ModelRecord:
        """The model with exactly this id (or with `sd/` before it), usable or not.

        Raises:
            ModelNotFound: there is none; the hint names the nearest ids.
        """
        known = self._all()
        record = known.get(model_id) or known.get(ModelId(model_id.removeprefix(ALICE_PREFIX)))
        if record is None:
            raise self._not_found(model_id)
        return record

    def at(self, path: Path) -> ModelRecord:
        """The model whose own file or folder this is.

        Raises:
            ModelNotFound: it is none's.
        """
        for record in self._all().values():
            if record.path == path:
                return record
        raise ModelNotFound(f"There is no model at {path}.", field="model")

    def converted(self, model_id: ModelId) -> ModelRecord | None:
        """What the MLX engine draws with when this model is asked for: itself, where it is a conversion, or
        the first usable one that was made of it; None where there is none.

        Raises:
            ModelNotFound: there is no such model.
        """
        record = self.get(model_id)
        if record.engine == MLX:
            return record if record.problem is None else None
        made = (one for one in self._all().values() if one.engine == MLX and one.problem is None)
        return next((one for one in made if one.converted_from == record.digest), None)

    def find(self, name: str) -> ModelRecord:
        """The model that a client means, of any kind, usable or not.

        Args:
            name: "auto" (the default picture model), an id, the last part of an id, or the folder of a single
                file, if only one model fits; in other case or with other separators if nothing fits better.
                With or without `sd/` before it.

        Raises:
            ModelNotFound, ModelAmbiguous: as `resolve`.
        """
        if name == AUTO:
            return self._automatic(ModelKind.IMAGE)
        record = self._all().get(ModelId(name))
        return self._by_last_part(name) if record is None else record

    def resolve(self, name: str, *, kind: ModelKind = ModelKind.IMAGE) -> ModelRecord:
        """The model that a client means, and that can be used.

        Args:
            name: as `find` takes it; "auto" for picture models only.

        Raises:
            ModelNotFound: nothing of that name; or "auto", and there is no usable model.
            ModelAmbiguous: several ids end in it.
            ModelUnusable: it has a problem, or is of another kind.
        """
        if name == AUTO:
            return self._automatic(kind)
        record = self.find(name)
        if record.problem is not None:
            raise unusable(record.id, record.problem)
        if record.kind is not kind:
            raise ModelUnusable(
                f"Model {record.id} is a model of kind {record.kind}; this needs one of kind {kind}.",
                field="model",
            )
        return record

    def resolve_part(self, name: str, kind: ModelKind) -> ModelRecord:
        """What goes with a model (a LoRA, an embedding, a VAE), usable or not, by its id or the last part of
        one, in any case and with any of `_ - space`; the kind may stand before it (`lora/name`). Only things
        of that kind are looked at, so that a checkpoint may share the name.

        Raises:
            ModelNotFound: nothing of that kind has the name; the hint names the nearest.
            ModelAmbiguous: several end in it.
        """
        wanted = name.strip().lower().removeprefix(f"{kind}/")
        loose = squashed(wanted)
        field = _FIELDS.get(kind, "model")
        for known in (self._of_kind(kind), self.list(kind)):  # the second look: it was put there a moment ago
            exact = [one for one in known if one.id.lower() == wanted]
            matches = exact or [one for one in known if _last(one).lower() == wanted]
            matches = matches or [one for one in known if loose in (squashed(one.id), squashed(_last(one)))]
            if len(matches) == 1:
                return matches[0]
            if matches:
                raise ModelAmbiguous(
                    f"Several models of kind {kind} are called {name[:200]}.",
                    hint="write one of " + ", ".join(record.id for record in matches[:8]),
                    field=field,
                )
        near = nearest(name, [record.id for record in known])
        raise ModelNotFound(
            f"There is no {kind} {name[:200]!r}.",
            hint="nearest: " + ", ".join(near)
            if near
            else f"{_how_many(len(known))} of this kind; `inglenook models` lists all models",
            field=field,
        )

    def _of_kind(self, kind: ModelKind) -> Sequence[ModelRecord]:
        return [record for record in self._all().values() if record.kind is kind]

    def _automatic(self, kind: ModelKind) -> ModelRecord:
        if kind is ModelKind.IMAGE and self._picture_model != AUTO:
            try:
                return self.resolve(self._picture_model)
            except ModelNotFound as error:
                error.message = f"images.default_model: {error.message}"
                raise
        usable = [record for record in self.list(kind) if record.problem is None]
        for record in sorted(usable, key=lambda one: one.engine == MLX):  # what was converted comes last
            return record
        raise ModelNotFound(
            f"There is no usable model of kind {kind}.",
            hint=_BRINGS.get(kind, "")
            + "put one into a model folder; `inglenook models` lists what is there and what is wrong",
            field="model",
        )

    def _by_last_part(self, name: str) -> ModelRecord:
        self.refresh()  # it may have been put there a moment ago
        matches = _matches(name, list(self._all().values()))
        if not matches and name.startswith(ALICE_PREFIX):
            matches = _matches(name.removeprefix(ALICE_PREFIX), list(self._all().values()))
        if not matches:
            raise self._not_found(name)
        if len(matches) > 1:
            raise ModelAmbiguous(
                f"Several models are called {name}.",
                hint="write one of " + ", ".join(record.id for record in matches[:8]),
                field="model",
            )
        return matches[0]

    def _not_found(self, name: str) -> ModelNotFound:
        near = nearest(name, self._all())
        hint = (
            "nearest: " + ", ".join(near) + "; `auto` takes the default"
            if near
            else "`inglenook models` or GET /v1/models lists what is there"
        )
        return ModelNotFound(f"There is no model {name[:200]!r}.", hint=hint, field="model")


def squashed(name: str) -> str:
    """Without case and without what people write between words."""
    return "".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _last(record: ModelRecord) -> str:
    return record.id.rpartition("/")[2]


def _matches(name: str, records: Sequence[ModelRecord]) -> Sequence[ModelRecord]:
    """What `name` may mean, by the first of these that finds anything: the id; its last part; the folder of a
    single file, which ALICE names it after; the last part without case and separators."""
    loose = squashed(name)
    for fits in (
        lambda one: one.id == name,
        lambda one: _last(one) == name,
        lambda one: one.layout == "single" and one.id.rpartition("/")[0].rpartition("/")[2] == name,
        lambda one: loose != "" and squashed(_last(one)) == loose,
    ):
        found = [one for one in records if fits(one)]
        if found:  # a name that stood for a model still does when it was converted
            return [one for one in found if one.engine != MLX] or found
    return []


def _how_many(count: int) -> str:
    return {0: "there is none", 1: "there is one"}.get(count, f"there are {count}")


def _find(root: Path) -> list[Found]:
    if not root.is_dir():
        _log.debug("model folder %s does not exist", root)
        return []
    return find_models(root)


def _assign_ids(found: Sequence[Found]) -> list[ModelId]:
    """Names to ids, in order: the first of a name keeps it, later ones get the first free of `~2`, `~3` …"""
    taken = {AUTO, *(ModelId(one.name) for one in found)}
    given: set[ModelId] = {AUTO}
    ids = []
    for one in found:
        model_id, number = ModelId(one.name), 1
        while model_id in given or (number > 1 and model_id in taken):
            number += 1
            model_id = ModelId(f"{one.name}~{number}")
        given.add(model_id)
        ids.append(model_id)
    return ids


def nearest(name: str, ids: Iterable[ModelId], count: int = 3) -> list[ModelId]:
    """Ids most like `name`, compared whole and by their last part, best first; at most `count`."""
    wanted = name.lower()[:200]
    scored = [(max(_likeness(wanted, one), _likeness(wanted, one.rpartition("/")[2])), one) for one in ids]
    return [one for score, one in sorted(scored, key=lambda pair: (-pair[0], pair[1])) if score >= 0.5][
        :count
    ]


def _likeness(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b.lower()[:200]).ratio()
