# SPDX-License-Identifier: Apache-2.0
"""Where on a picture a class was found: drawn by the worker when it is asked for, then kept.

No job is made of it: the answer comes on the connection that asks, and whoever hangs up has stopped it.
"""

import asyncio
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inglenook.base.cancel import StopToken
from inglenook.base.errors import Cancelled, NotFound
from inglenook.base.ids import PersonId
from inglenook.base.work import WorkClass
from inglenook.engines.studio import StudioChild
from inglenook.runtime.scheduler.loop import Scheduler
from inglenook.store.files import write_error
from inglenook.studio.errors import CorruptDocument, ImageNotFound
from inglenook.studio.evaluation.documents import SALIENCY, Key
from inglenook.studio.evaluation.errors import CheckpointNotFound, EvaluationFailure
from inglenook.studio.evaluation.pictures import read_manifest
from inglenook.studio.evaluation.planning import load_plan
from inglenook.studio.evaluation.views import EvaluationViews
from inglenook.studio.training.documents import CHECKPOINTS
from inglenook.wire.studio.evaluation import Explain, Explained, WorkFailed

MOST_KEPT: Final = 500
"""Pictures of an evaluation; the oldest go."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """`output`: where it lies, or will."""

    output: Path
    file: str
    checkpoint: Path
    target: int


class Saliency:
    def __init__(self, *, views: EvaluationViews, scheduler: Scheduler) -> None:
        self._views = views
        self._scheduler = scheduler

    async def show(
        self, person: PersonId, key: Key, filename: str, class_name: str | None, stop: StopToken
    ) -> Path:
        """A PNG: the picture with the heat over it; of the predicted class where none is named.

        Raises:
            ImageNotFound, EvaluationNotFound, NotReady, CheckpointNotFound; NotFound: no such class.
            EvaluationFailure: the worker could not. Cancelled: `stop` was set.
            ChildFailed, Invalid, LeaseStopped, Unavailable: as `Scheduler.acquire`.
        """
        wanted = await asyncio.to_thread(self._wanted, key, filename, class_name)
        if wanted.output.is_file():
            return wanted.output
        experiment = await asyncio.to_thread(self._views.documents.experiments.read, key[0], key[1])
        request = self._scheduler.request(
            person=person,
            work_class=WorkClass.INTERACTIVE,
            plan=load_plan(experiment.task, experiment.spec, use="explain", batch_size=1),
            label=f"a look at a picture for {person}",
        )
        made = wanted.output.with_name(f".new-{secrets.token_hex(6)}.png")
        asked = Explain(
            job=f"look-{secrets.token_hex(6)}",
            task=experiment.task,
            checkpoint=str(wanted.checkpoint),
            file=wanted.file,
            target=wanted.target,
            output=str(made),
        )
        lease = await self._scheduler.acquire(request, stop)
        try:
            child = lease.child
            assert isinstance(child, StudioChild)
            last = await child.explain(asked, stop=stop)
        finally:
            lease.release()
        if isinstance(last, WorkFailed):
            if last.code == "studio.no_data":
                raise ImageNotFound(last.message, hint="its file is gone or damaged")
            raise EvaluationFailure(last.message, code=last.code, hint=last.hint)
        if not isinstance(last, Explained):
            raise Cancelled("The look at the picture was stopped.")
        await asyncio.to_thread(_keep, made, wanted.output)
        return wanted.output

    def _wanted(self, key: Key, filename: str, class_name: str | None) -> _Wanted:
        documents = self._views.documents
        record = documents.require_completed(key)
        result = self._views.one(key, filename)
        classes = self._views.aggregate(key).classes
        if class_name is None:
            target = int(result.prediction["class_id"])
        elif class_name in classes:
            target = classes.index(class_name)
        else:
            raise NotFound(
                f"There is no class {class_name[:80]!r} in this evaluation.", code="evaluation.unknown_class"
            )
        folder = documents.folder(key)
        checkpoint = documents.experiments.folder(key[0], key[1]) / CHECKPOINTS / f"{record.checkpoint}.ckpt"
        if not checkpoint.is_file():
            raise CheckpointNotFound(f"The checkpoint {record.checkpoint}.ckpt is gone.")
        return _Wanted(
            output=folder / SALIENCY / f"{result.id}-{target}.png",
            file=_file_of(folder, result.id),
            checkpoint=checkpoint,
            target=target,
        )


def _file_of(folder: Path, image: str) -> str:
    """Where the picture lies; makes the folder of what is kept. Raises ImageNotFound, CorruptDocument."""
    from inglenook.studio.evaluation.documents import MANIFEST

    try:
        (folder / SALIENCY).mkdir(mode=0o700, exist_ok=True)
        for example in read_manifest(folder / MANIFEST):
            if example.id == image:
                return example.file
    except (OSError, ValueError) as error:
        raise CorruptDocument(f"The pictures of {folder.name} cannot be read: {error}") from error
    raise ImageNotFound(f"The evaluation has no picture {image!r}.")


def _keep(made: Path, output: Path) -> None:
    """Into its place; the oldest of too many go."""
    try:
        made.replace(output)
        kept = sorted(output.parent.glob("*.png"), key=lambda path: path.stat().st_mtime)
    except OSError as error:
        raise write_error(error, output) from error
    for path in kept[:-MOST_KEPT]:
        with suppress(OSError):
            path.unlink()
