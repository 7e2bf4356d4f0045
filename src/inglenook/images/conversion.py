# SPDX-License-Identifier: Apache-2.0
"""A model of the library, written anew for another engine: which can be, what a child is asked, the job."""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from inglenook.base.clock import Clock
from inglenook.base.errors import Conflict, Failed, InglenookError, Invalid
from inglenook.base.ids import JobId, ModelId, PersonId
from inglenook.base.work import WorkClass
from inglenook.catalog.errors import unusable
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.catalog.service import CatalogService
from inglenook.catalog.sidecar import sidecar_path
from inglenook.engines.mlx import FAMILIES, NAME, Converters, missing
from inglenook.images.errors import EngineMissing
from inglenook.jobs.model import Job, Receipt
from inglenook.jobs.service import JobsService
from inglenook.jobs.work import Report, Stopped
from inglenook.wire.families import FAMILIES as ALL_FAMILIES
from inglenook.wire.message import Message
from inglenook.wire.mlx import (
    DTYPES,
    Converted,
    ConvertFailed,
    Converting,
    ConvertLastWord,
    ConvertModel,
    Source,
)

KIND: Final = "convert"
"""Of jobs that convert models."""
TARGETS: Final = (NAME,)
"""Engines that models can be converted for."""
DEFAULT_DTYPE: Final = "float16"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]+")
STAGE: Final = "convert"


class NotConvertible(Invalid):
    default_code = "convert.unsupported"


class ConversionFailed(Failed):
    default_code = "convert.failed"


class ConversionExists(Conflict):
    default_code = "convert.exists"


@dataclass(frozen=True, slots=True)
class Wish:
    """Which model to convert, and how; what a job keeps as its payload.

    Attributes:
        engine: one of `TARGETS`. name: of the conversion, which stands in the library as `<engine>/<name>`.
        dtype: of the weights, one of `wire.mlx.DTYPES`.
        replace: a conversion of that name goes, once the new one is whole.
    """

    model: ModelId
    engine: str
    name: str
    dtype: str = DEFAULT_DTYPE
    replace: bool = False

    @property
    def target(self) -> str:
        """Id of the conversion to be."""
        return f"{self.engine}/{self.name}"


def require_convertible(record: ModelRecord) -> None:
    """Raises NotConvertible; ModelUnusable where its files have a problem."""
    if record.kind is not ModelKind.IMAGE or record.family not in FAMILIES:
        what = (
            f"of the family {record.family}" if record.kind is ModelKind.IMAGE else f"of kind {record.kind}"
        )
        titles = ", ".join(ALL_FAMILIES[one].title for one in FAMILIES)
        raise NotConvertible(
            f"{record.id} is a model {what}; for MLX there are networks of {titles}.", field="model"
        )
    if record.engine == NAME:
        raise NotConvertible(f"{record.id} is converted for MLX already.", field="model")
    if record.problem is not None:
        raise unusable(record.id, record.problem)


def target_name(name: str | None, record: ModelRecord) -> str:
    """The name of a conversion: as it is asked for, else that of the model.

    Raises Invalid: it is no plain name of a folder.
    """
    if name is None:
        plain = _UNFIT.sub("-", record.id.rpartition("/")[2]).strip("-._")[:100]
        return plain or f"model-{record.digest[:8]}"
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"{name[:100]!r} cannot be the name of a model.",
            field="name",
            hint="letters, digits, dots, dashes and underscores, at most 100, first a letter or a digit",
        )
    return name


def asked_of(record: ModelRecord, target: Path, dtype: str, *, replace: bool, job: str) -> ConvertModel:
    """What a child is asked for. Blocks.

    Args:
        target: the folder to be.
        dtype: one of `DTYPES`.
    """
    notes = sidecar_path(record.path)
    return ConvertModel(
        job=job,
        path=str(record.path),
        layout=record.layout,
        family=record.family or "",
        variant=record.variant,
        target=str(target),
        dtype=dtype,  # type: ignore[arg-type]  # one of `DTYPES`
        replace=replace,
        notes=str(notes) if notes.is_file() else None,
        source=Source(model=record.id, path=str(record.path), digest=record.digest),
        title=record.title,
        licence=record.licence,
        description=record.description,
    )


def why(last: ConvertFailed) -> InglenookError:
    """The child's words as an error."""
    message, _, hint = last.message.partition("\nhint: ")
    kinds: dict[str, type[NotConvertible | ConversionExists]] = {
        "convert.unsupported": NotConvertible,
        "convert.exists": ConversionExists,
    }
    return kinds.get(last.code, ConversionFailed)(message, code=last.code, hint=hint or None)


class ConversionService:
    """What a door calls.

    Args:
        models: the folder below which conversions stand, `<models>/<engine>/<name>`.
        absent: why conversions cannot be made here, and what to do; None when they can.
    """

    def __init__(
        self,
        *,
        catalog: CatalogService,
        jobs: JobsService,
        models: Path,
        absent: Callable[[], tuple[str, str] | None] = missing,
    ) -> None:
        self._catalog = catalog
        self._jobs = jobs
        self._models = models
        self._absent = absent

    async def submit(
        self,
        model: str,
        engine: str,
        *,
        owner: PersonId,
        name: str | None = None,
        dtype: str = DEFAULT_DTYPE,
        replace: bool = False,
        idempotency_key: str | None = None,
    ) -> Job:
        """Check the wish and put it into the queue.

        Its progress has the stage `convert`, with the part that is written as detail; its result is `model`
        (the id of the conversion), `size_bytes` and `seconds`.

        Raises:
            NotFound: no such model. Invalid: one that cannot be converted (`convert.unsupported`), no such
                engine or precision, no name of a folder; `field` names it.
            ConversionExists: there is one of that name, and it is not to be replaced.
            EngineMissing: what converts is not here.
            Busy, Conflict: as `JobsService.submit`.
        """
        wish = await asyncio.to_thread(self._wish, model, engine, name, dtype, replace)
        return await self._jobs.submit(
            kind=KIND,
            owner=owner,
            work_class=WorkClass.BATCH,
            title=f"{wish.model} for {wish.engine}",
            payload=asdict(wish),
            idempotency_key=idempotency_key,
        )

    def _wish(self, model: str, engine: str, name: str | None, dtype: str, replace: bool) -> Wish:
        """Blocks."""
        for field, value, known in (("to", engine, TARGETS), ("dtype", dtype, DTYPES)):
            if value not in known:
                raise Invalid(f"{field} must be {' or '.join(known)}; got {value[:40]!r}.", field=field)
        record = self._catalog.find(model)
        require_convertible(record)
        absent = self._absent()
        if absent is not None:
            raise EngineMissing(absent[0], hint=absent[1], field="to")
        wish = Wish(record.id, engine, target_name(name, record), dtype, replace)
        if not replace and (self._models / wish.engine / wish.name).exists():
            raise ConversionExists(
                f"There is a model {wish.target} already.",
                field="name",
                hint="give another name, or ask for replace",
            )
        return wish


class ConvertWork:
    """Carries out jobs of kind `convert`, each in a child of its own. See `jobs.work.Work`."""

    kind = KIND
    restarts = False  # nothing is left of half a conversion, and a person may no longer want it

    def __init__(
        self, *, catalog: CatalogService, converters: Converters, models: Path, clock: Clock
    ) -> None:
        self._catalog = catalog
        self._converters = converters
        self._models = models
        self._clock = clock

    def explain(self, job: JobId) -> Mapping[str, Any] | None:  # noqa: ARG002 - it waits for nothing
        return None

    async def run(self, job: Job, report: Report) -> Mapping[str, Any]:
        wish = Wish(**job.payload)
        await report.running()
        asked = await asyncio.to_thread(self._asked, job.id, wish)

        async def hear(message: Message) -> None:
            if isinstance(message, Converting):
                done = message.done / max(message.total, 1)
                await report.progress(done, stage=STAGE, detail={"part": message.part})

        async with self._converters.started(wish.model) as child:
            last = await child.convert(asked, stop=report.stop, tell=hear)
        return await self._ended(wish, last)

    def _asked(self, job: JobId, wish: Wish) -> ConvertModel:
        """Raises NotFound, NotConvertible: it has been taken away meanwhile, or replaced. Blocks."""
        record = self._catalog.get(wish.model)
        require_convertible(record)
        target = self._models / wish.engine / wish.name
        return asked_of(record, target, wish.dtype, replace=wish.replace, job=job)

    async def _ended(self, wish: Wish, last: ConvertLastWord) -> Mapping[str, Any]:
        if isinstance(last, Converted):
            await asyncio.to_thread(self._catalog.refresh)
            return {
                "model": wish.target,
                "size_bytes": last.size_bytes,
                "seconds": round(last.seconds, 3),
            }
        if isinstance(last, ConvertFailed):
            raise why(last)
        raise Stopped(Receipt("the conversion was stopped; nothing of it was kept", self._clock.now(), 0.0))
