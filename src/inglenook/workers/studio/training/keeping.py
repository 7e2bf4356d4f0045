# SPDX-License-Identifier: Apache-2.0
"""What a run keeps and tells beside learning: checkpoints, the record of each epoch, logs, notices."""

import math
from pathlib import Path
from typing import Any, Literal

from inglenook.wire.studio.training import Checkpoint, Epoch, Sample, Samples, StudioNotice, Train
from inglenook.workers.studio.context import Context
from inglenook.workers.studio.data.dataset import PictureBatch
from inglenook.workers.studio.data.manifest import Manifest
from inglenook.workers.studio.errors import Unreadable
from inglenook.workers.studio.training.checkpoints import write_checkpoint
from inglenook.workers.studio.training.learner import Learner
from inglenook.workers.studio.training.logs import RunLogs
from inglenook.workers.studio.training.state import capture, describe, restore

UNREADABLE_AT_LEAST = 5
UNREADABLE_SHARE = 0.05
"""So many pictures of a part may be left out: five, or one in twenty where that is more."""


class RunKeeper:
    """Args:
    content: the checkpoint from which the run goes on; None for a new one.
    """

    def __init__(
        self, work: Train, context: Context, manifest: Manifest, logs: RunLogs, content: dict[str, Any] | None
    ) -> None:
        self._work = work
        self._context = context
        self._logs = logs
        self._content = content
        self._sizes = {"train": len(manifest.train), "val": len(manifest.val)}
        self._ids = {"train": manifest.train, "val": manifest.val}
        self._unread: dict[str, set[int]] = {"train": set(), "val": set()}
        self._saved_at = context.clock.monotonic()
        self.last_values: dict[str, float] = {}
        kept = {} if content is None else content["training"]
        self._records: list[dict[str, Any]] = list(kept.get("records", ()))
        self._told_best: dict[str, Any] | None = kept.get("told_best")

    @property
    def last(self) -> Path:
        return Path(self._work.folder) / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        return self.last.with_name("best.ckpt")

    def started(self, learner: Learner) -> None:
        if self._content is not None:
            restore(learner, self._content, self._context.device)
            self.last_values = dict(self._content["values"])
            self._content = None  # it is in the network now, and large
        self._saved_at = self._context.clock.monotonic()

    def tell_again(self) -> None:
        """What the server has not heard of the epochs that are done: it ended while the run was ahead."""
        heard = self._work.told
        if heard is None:
            return
        for record in self._records:
            if record["epoch"] > heard:
                self._context.send(Epoch(job=self._work.job, **_known(record)))
        if self._told_best is not None and self._told_best["epoch"] > heard:
            self._context.send(Checkpoint(job=self._work.job, **self._told_best))

    def after_batch(self, learner: Learner) -> None:
        if self._context.clock.monotonic() - self._saved_at >= self._work.save_every_s:
            self.save_last(learner)

    def after_epoch(
        self, learner: Learner, values: dict[str, float], samples: list[Sample], *, best: bool
    ) -> None:
        epoch = learner.progress.epoch
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self.last_values = finite
        if best or learner.data.val is None:
            # Without validation nothing tells which epoch is best: the newest is kept under that name, and
            # no monitor.
            self._save("best", describe(self._work, learner, values=finite))
        self._logs.epoch(epoch, finite)
        record = {
            "epoch": epoch,
            "values": finite,
            "not_finite": sorted(set(values) - set(finite)),
            "best": best,
        }
        self._records.append(record)
        self._context.send(Epoch(job=self._work.job, **_known(record)))
        if samples:
            self._context.send(Samples(job=self._work.job, epoch=epoch, samples=tuple(samples)))

    def turned(self, learner: Learner) -> None:
        self.save_last(learner)

    def save_last(self, learner: Learner) -> None:
        """Raises `DiskFull`; then the one before is as it was. Raises `Diverged` rather than keep what
        has."""
        learner.flush()
        content = describe(self._work, learner, values=self.last_values)
        own = {"records": self._records, "told_best": self._told_best}
        content["training"] = capture(learner, self._context.device) | own
        self._save("last", content)
        self._saved_at = self._context.clock.monotonic()

    def unread(self, part: str, batch: PictureBatch) -> None:
        for item in batch.unread:
            if item.key.index in self._unread[part]:
                continue
            self._unread[part].add(item.key.index)
            example = self._ids[part][item.key.index]
            text = f"The picture {example.id} ({part}) cannot be read and is left out: {item.why}"
            self._context.send(StudioNotice(job=self._work.job, text=text))
        count, size = len(self._unread[part]), self._sizes[part]
        if count > max(UNREADABLE_AT_LEAST, size * UNREADABLE_SHARE) or count == size:
            raise Unreadable(
                f"{count} of the {size} pictures of the {part} part cannot be read; the last: {item.why}",
                hint="check the data set, then import the broken pictures again",
            )

    def _save(self, name: Literal["best", "last"], content: dict[str, Any]) -> None:
        path = self.last if name == "last" else self.best
        size = write_checkpoint(path, content)
        told = {
            "name": name,
            "file": f"checkpoints/{path.name}",
            "epoch": content["epoch"],
            "batch": content["batch"],
            "size_bytes": size,
            "monitor": content["monitor"],
            "value": content["value"],
        }
        if name == "best":
            self._told_best = told
        self._context.send(Checkpoint(job=self._work.job, **told))


def _known(record: dict[str, Any]) -> dict[str, Any]:
    """A record as its message has it."""
    return record | {"not_finite": tuple(record["not_finite"])}
