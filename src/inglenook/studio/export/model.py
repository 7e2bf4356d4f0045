# SPDX-License-Identifier: Apache-2.0
"""An export as a value: what was asked for, what came of it, and which status may follow which. Pure."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec

from inglenook.studio.documents import Document
from inglenook.studio.export.errors import BadExport
from inglenook.wire.studio.export import ExportOptions, Format, Quantized, Validation

MAX_ERROR: Final = 4000
MIB: Final = 1024 * 1024
MODEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}")
CHECKPOINT: Final = re.compile(r"[A-Za-z0-9._-]{1,120}")


class Status(StrEnum):
    """AI Studio's words."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


NEXT: Mapping[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.RUNNING, Status.FAILED}),
    Status.RUNNING: frozenset(
        {Status.PENDING, Status.COMPLETED, Status.FAILED}
    ),  # pending: the server stopped
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset({Status.PENDING}),  # somebody wants the job done again
}


class ExportOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for; `checkpoint` with or without `.ckpt`."""

    experiment_id: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    checkpoint: Annotated[str, msgspec.Meta(min_length=1, max_length=120)] = "best"
    format: Format = "onnx"
    options: ExportOptions = ExportOptions()


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """`model`: its id in the library. `file`: below the models folder. `digest`: as the library read it, so
    that nobody else's file under that name is taken for it."""

    model: str
    file: str
    digest: str
    at: str
    by: str


class ExportRecord(Document, frozen=True, kw_only=True):
    """`export.json`. The fields up to `error` are AI Studio's, the others ours.

    Attributes:
        output_size_mb: MiB, three decimals.
        options: as they were asked for; when it is done, `input_shape` is what the file really takes (a batch
            of 1 where any number will do).
        output_file: below the export's folder.
        files: all that can be downloaded: the model, its card, the script that runs it.
        opset, input_dtype, input_shape, preprocessing, epoch, weights, pretrained, values, notes,
            environment: see `wire.studio.export.Exported`.
        error_code: stable and machine-readable. error_hint: what to do next.
        lineage: where it comes from, as it is written into the file.
        licence: of the file, as far as anybody said.
        job: that makes it. owner: who asked.
    """

    id: str
    experiment_id: str
    checkpoint: str
    format: Format
    status: Status = Status.PENDING
    created_at: str
    output_size_mb: float | None = None
    options: ExportOptions
    started_at: str | None = None
    completed_at: str | None = None
    output_file: str | None = None
    validation: Validation | None = None
    error: str | None = None

    experiment_name: str = ""
    task: str = "classification"
    classes: tuple[str, ...] = ()
    opset: int | None = None
    epoch: int | None = None
    input_dtype: str | None = None
    input_shape: tuple[int, ...] = ()
    preprocessing: dict[str, Any] | None = None
    parameters: int | None = None
    weights: str | None = None
    pretrained: bool | None = None
    values: dict[str, float] = msgspec.field(default_factory=dict)
    quantized: Quantized | None = None
    notes: tuple[str, ...] = ()
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    seconds: float | None = None
    error_code: str | None = None
    error_hint: str | None = None
    lineage: dict[str, Any] = msgspec.field(default_factory=dict)
    licence: str = ""
    files: tuple[str, ...] = ()
    registered: Registered | None = None
    job: str | None = None
    owner: str = ""

    @property
    def is_running(self) -> bool:
        return self.status in (Status.PENDING, Status.RUNNING)

    def moved(self, to: Status, **changes: Any) -> "ExportRecord":
        """Raises ValueError where `to` may not follow: whoever moves it looks first."""
        if to not in NEXT[self.status]:
            raise ValueError(f"{self.id} is {self.status}: {to} may not follow")
        return msgspec.structs.replace(self, status=to, **changes)


class ExportSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the list; the first seven are AI Studio's."""

    id: str
    experiment_id: str
    checkpoint: str
    format: str
    status: Status
    created_at: str
    output_size_mb: float | None = None
    experiment_name: str = ""
    quantization: str = "none"
    model: str | None = None


class ExportIndex(Document, frozen=True, kw_only=True):
    """`exports_index.json`: what a list shows, in the order in which they were made."""

    exports: tuple[ExportSummary, ...] = ()


def summary_of(record: ExportRecord) -> ExportSummary:
    return ExportSummary(
        id=record.id,
        experiment_id=record.experiment_id,
        checkpoint=record.checkpoint,
        format=record.format,
        status=record.status,
        created_at=record.created_at,
        output_size_mb=record.output_size_mb,
        experiment_name=record.experiment_name,
        quantization=record.options.quantization,
        model=None if record.registered is None else record.registered.model,
    )


def checkpoint_name(text: str) -> str:
    """Without `.ckpt`. Raises BadExport."""
    name = text.removesuffix(".ckpt")
    if not CHECKPOINT.fullmatch(name) or name in (".", ".."):
        raise BadExport(
            f"checkpoint is {text[:60]!r}, which is no name of one.",
            field="checkpoint",
            hint="best or last",
        )
    return name


def model_name(text: str) -> str:
    """The name under which a file is put into the library. Raises BadExport."""
    name = " ".join(text.split()).removesuffix(".onnx")
    if not MODEL_NAME.fullmatch(name) or name.endswith("."):
        raise BadExport(
            f"name is {text[:60]!r}; it takes 1 to 80 letters, digits, spaces, `.`, `_` or `-`, a letter or "
            "digit first.",
            field="name",
        )
    return name


def size_mb(size_bytes: int) -> float:
    return round(size_bytes / MIB, 3)
