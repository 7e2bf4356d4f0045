# SPDX-License-Identifier: Apache-2.0
"""The file beside the checkpoint, on real pictures: each in its own way from the picture's file on, so that
preprocessing counts too."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from inglenook.vision.applying import pixels, prepared
from inglenook.vision.preprocessing import Preprocessing
from inglenook.wire.studio.export import (
    CHECK_BATCHES,
    CHECKED,
    INPUT,
    MEAN_TOLERANCE,
    OUTPUT,
    TOLERANCE,
    ExportOptions,
    OutputCheck,
    Validation,
)
from inglenook.workers.studio.data.transforms import Pipeline
from inglenook.workers.studio.export.errors import CheckFailed, NoPictures
from inglenook.workers.studio.export.pictures import Picture, Pictures
from inglenook.workers.studio.kept import Kept

Logits = npt.NDArray[np.float32]
Run = Callable[[npt.NDArray[Any]], Sequence[npt.NDArray[Any]]]
"""Pictures as the file takes them → each of its outputs."""


def session(path: Path, threads: int) -> Run:
    """An ONNX file in onnxruntime, on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    found = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda given: list(found.run(None, {INPUT: given}))


def taken(pictures: Sequence[Picture], wanted: Preprocessing, options: ExportOptions) -> npt.NDArray[Any]:
    """Pictures as the file takes them."""
    if options.baked_preprocessing:
        return np.stack([pixels(one.image, wanted) for one in pictures])
    return np.stack([prepared(one.image, wanted) for one in pictures])


def of_checkpoint(kept: Kept, pipeline: Pipeline, pictures: Sequence[Picture]) -> Logits:
    """Logits (N, classes) of the checkpoint's network, on pictures made ready by torchvision itself."""
    with torch.inference_mode():
        made: Logits = kept.network(torch.stack([pipeline(one.image) for one in pictures])).numpy()
    return made


def check(
    kept: Kept,
    pictures: Pictures,
    wanted: Preprocessing,
    options: ExportOptions,
    run: Run,
    *,
    boundary: Callable[[], None],
) -> Validation:
    """Compare every output, one picture and several at a time.

    Args:
        boundary: called between batches; raises to stop.

    Raises:
        NoPictures: not one can be read.
        CheckFailed: a difference is beyond the tolerance, or another class comes out; with the figures.
    """
    pipeline = Pipeline(kept.steps, "val")
    subset = pictures.subset
    some = list(pictures.some(subset, CHECKED))
    if not some:
        raise NoPictures(f"None of the pictures of the {subset} part can be read.")
    batches = CHECK_BATCHES if options.batch is None else (options.batch,)
    found = _Differences()
    for size in batches:
        for place in range(0, len(some), size):
            boundary()
            group = some[place : place + size]
            whole = group + [group[-1]] * (size - len(group)) if options.batch is not None else group
            theirs = of_checkpoint(kept, pipeline, whole)
            found.add([theirs], run(taken(whole, wanted, options)))
    return _judged(found, images=len(some), subset=subset, batches=batches)


class _Differences:
    """Sums over outputs. A network of the studio has one; what a later task adds is compared alike."""

    def __init__(self) -> None:
        self.largest: list[float] = []
        self.sums: list[float] = []
        self.values: list[int] = []
        self.shapes: list[tuple[int, ...]] = []
        self.scale = 1.0
        self.same = self.rows = 0

    def add(self, theirs: Sequence[Logits], ours: Sequence[npt.NDArray[Any]]) -> None:
        for place, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            if place == len(self.largest):
                self.largest.append(0.0)
                self.sums.append(0.0)
                self.values.append(0)
                self.shapes.append((0, *one.shape[1:]))
            if one.shape != other.shape or not np.isfinite(other).all():
                self.largest[place] = float("inf")
                continue
            apart = np.abs(one.astype(np.float64) - other)
            self.largest[place] = max(self.largest[place], float(apart.max()))
            self.sums[place] += float(apart.sum())
            self.values[place] += apart.size
            self.scale = max(self.scale, float(np.abs(one).max()))
        self.same += int((theirs[0].argmax(1) == ours[0].reshape(theirs[0].shape).argmax(1)).sum())
        self.rows += len(theirs[0])


def _judged(found: _Differences, *, images: int, subset: str, batches: tuple[int, ...]) -> Validation:
    largest = [min(value, 1e30) for value in found.largest]  # what is not finite does not travel
    means = [total / max(count, 1) for total, count in zip(found.sums, found.values, strict=True)]
    tolerance, mean_tolerance = TOLERANCE * found.scale, MEAN_TOLERANCE * found.scale
    agreement = found.same / found.rows
    passed = max(largest) <= tolerance and max(means) <= mean_tolerance and agreement == 1
    validation = Validation(
        passed=passed,
        max_diff=max(largest),
        mean_diff=max(means),
        tolerance=tolerance,
        mean_tolerance=mean_tolerance,
        agreement=agreement,
        images=images,
        subset=subset,
        batches=batches,
        outputs=tuple(
            OutputCheck(
                name=OUTPUT if place == 0 else f"{OUTPUT}_{place}", shape=shape, max_diff=most, mean_diff=mean
            )
            for place, (shape, most, mean) in enumerate(zip(found.shapes, largest, means, strict=True))
        ),
    )
    if not passed:
        raise CheckFailed(
            f"The file does not say what the checkpoint says: a logit differs by up to {max(largest):.3g} "
            f"({tolerance:.3g} is allowed), by {max(means):.3g} on average ({mean_tolerance:.3g}), and "
            f"{agreement:.1%} of {images} pictures get the same class.",
            validation=validation,
            hint="try another opset, or without simplify; no file was kept",
        )
    return validation
