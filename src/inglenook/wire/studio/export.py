# SPDX-License-Identifier: Apache-2.0
"""A checkpoint to a file that runs elsewhere, over the wire.

    server                          worker
      │ ────────── Export ──────────► │
      │  ◄──────── Exporting …        │   what it does now
      │  ◄──────── Exported / ExportFailed / ExportStopped   exactly one, last

The worker writes the model into the export's own folder and nothing else; every figure comes in the last
word.
"""

from typing import Annotated, Any, Final, Literal

import msgspec

from inglenook.wire.message import Message, OutOfMemory
from inglenook.wire.studio.spec import Count, Probability, Spec

Format = Literal["onnx", "torchscript"]
Quantization = Literal["none", "dynamic", "static"]

INPUT: Final = "input"
OUTPUT: Final = "output"
LEAST_OPSET: Final = 18
"""The exporter has no operators below it; what is asked for below is tried by conversion."""
CHECK_BATCHES: Final = (1, 5)
CHECKED: Final = 32
"""Pictures on which the file is compared with the checkpoint."""
TOLERANCE: Final = 1e-4
"""Of a logit: the largest difference, times the largest logit where that is above 1."""
MEAN_TOLERANCE: Final = 1e-5
MEASURED: Final = 2000
"""Most pictures on which the accuracy before and after quantisation is measured."""

Axes = dict[str, dict[str, Annotated[str, msgspec.Meta(min_length=1, max_length=80)]]]


class ExportOptions(Spec, frozen=True, kw_only=True):
    """How a file is made. The first four are AI Studio's.

    Attributes:
        opset_version: of ONNX's operators. Below 18 it is tried; the record says what came of it.
        input_shape: batch, channels, height, width; None takes what the model was trained with. The batch
            counts where `dynamic_axes` is None.
        dynamic_axes: `{"input": {"0": "batch"}, "output": {"0": "batch"}}` or None: any number of pictures at
            a time, or always the same.
        simplify: constants are folded and needless operators removed.
        baked_preprocessing: the model takes uint8 (N, H, W, 3), 0 to 255, of its own size, and normalises
            them itself; resizing stays outside.
        quantization: weights (`dynamic`), or weights and what is computed (`static`), as 8-bit integers.
        calibration_images: pictures of the training part by which `static` finds its ranges.
        max_accuracy_loss: an export that loses more by quantisation fails; in [0, 1].
        title, description, licence, intended_use: written into the file and its model card.
    """

    opset_version: Annotated[int, msgspec.Meta(ge=13, le=23)] = LEAST_OPSET
    input_shape: (
        tuple[
            Annotated[int, msgspec.Meta(ge=1, le=4096)],
            Annotated[int, msgspec.Meta(ge=1, le=4)],
            Annotated[int, msgspec.Meta(ge=1, le=4096)],
            Annotated[int, msgspec.Meta(ge=1, le=4096)],
        ]
        | None
    ) = None
    dynamic_axes: Axes | None = msgspec.field(
        default_factory=lambda: {INPUT: {"0": "batch_size"}, OUTPUT: {"0": "batch_size"}}
    )
    simplify: bool = True
    baked_preprocessing: bool = False
    quantization: Quantization = "none"
    calibration_images: Annotated[int, msgspec.Meta(ge=1, le=2000)] = 100
    max_accuracy_loss: Probability = 0.05
    title: Annotated[str, msgspec.Meta(max_length=200)] = ""
    description: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    licence: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    intended_use: Annotated[str, msgspec.Meta(max_length=2000)] = ""

    @property
    def batch(self) -> int | None:
        """Pictures at a time; None for any number."""
        if self.dynamic_axes is not None:
            return None
        return 1 if self.input_shape is None else self.input_shape[0]


class Export(Message, frozen=True, kw_only=True, tag="export"):
    """Make a file of a checkpoint, and check it.

    Attributes:
        checkpoint: a file of the studio's own.
        manifest: the experiment's: one `Example` a line.
        folder: existing and empty; the file is `model.onnx` or `model.pt` in it.
        metadata: what is written into the file beside what the checkpoint says: name → text.
        lineage: the same, as one JSON object.
    """

    job: str
    checkpoint: str
    manifest: str
    folder: str
    format: Format = "onnx"
    options: ExportOptions = ExportOptions()
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    lineage: dict[str, Any] = msgspec.field(default_factory=dict)


class Exporting(Message, frozen=True, kw_only=True, tag="exporting"):
    """`stage`: `load`, `trace`, `quantise`, `check`, `measure`; `fraction` of the whole, in [0, 1]."""

    job: str
    stage: str
    fraction: float


class OutputCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One output compared with the checkpoint's, over all pictures and batches."""

    name: str
    shape: tuple[int, ...]
    max_diff: float
    mean_diff: float


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """The file compared with the checkpoint on real pictures; the first three are AI Studio's.

    Attributes:
        max_diff, mean_diff: of a logit, over all outputs.
        tolerance, mean_tolerance: what they may be at most.
        agreement: the share of pictures of which both say the same class.
        images: how many were compared; subset: of which part they are.
        batches: so many at a time, one after the other.
    """

    passed: bool
    max_diff: float
    mean_diff: float
    tolerance: float
    mean_tolerance: float
    agreement: float
    images: Count
    subset: str
    batches: tuple[int, ...]
    outputs: tuple[OutputCheck, ...]


class Quantized(msgspec.Struct, frozen=True, kw_only=True):
    """What 8-bit integers cost and save, measured on `images` pictures of `subset`.

    Attributes:
        size_before, size_after: bytes of the file.
        accuracy_before, accuracy_after: shares that are right; None where the pictures have no class.
        agreement: the share of pictures whose class is the same. max_diff, mean_diff: of a probability.
        calibration_images: by which ranges were found; 0 for `dynamic`.
    """

    method: Quantization
    size_before: int
    size_after: int
    accuracy_before: float | None
    accuracy_after: float | None
    agreement: float
    max_diff: float
    mean_diff: float
    images: Count
    subset: str
    calibration_images: Count


class Exported(Message, frozen=True, kw_only=True, tag="exported"):
    """It is whole and in its place.

    Attributes:
        file: below the folder. opset: what it really has; None of other formats.
        epoch: of the checkpoint. classes: names in the order of the outputs.
        input_dtype, input_shape: as the file takes it; 0 for any number.
        preprocessing: what happens to a picture before, as `vision.preprocessing.Preprocessing` in JSON.
        weights: where the first weights were from, in the checkpoint's words; pretrained: anybody's work.
        parameters: number of values. notes: what a person should know.
        environment: versions of what made it.
    """

    job: str
    file: str
    size_bytes: int
    seconds: float
    opset: int | None
    epoch: int
    classes: tuple[str, ...]
    input_dtype: str
    input_shape: tuple[int, ...]
    preprocessing: dict[str, Any]
    weights: str
    pretrained: bool
    parameters: int
    values: dict[str, float]
    validation: Validation
    quantized: Quantized | None = None
    notes: tuple[str, ...] = ()
    environment: dict[str, str] = msgspec.field(default_factory=dict)


class ExportFailed(Message, frozen=True, kw_only=True, tag="export_failed"):
    """It failed, and no file is left; the worker is still alive.

    `code` is stable: `export.check_failed`, `export.accuracy_lost` (the figures come with it),
    `export.preprocessing`, `export.shape`, `export.no_pictures`, `export.untraceable`,
    `train.bad_checkpoint`, `export.out_of_memory`, `export.failed`.
    """

    job: str
    code: str
    message: str
    hint: str | None = None
    validation: Validation | None = None
    quantized: Quantized | None = None
    out_of_memory: OutOfMemory | None = None


class ExportStopped(Message, frozen=True, kw_only=True, tag="export_stopped"):
    """It stopped on request, and no file is left."""

    job: str


ExportLastWord = Exported | ExportFailed | ExportStopped
