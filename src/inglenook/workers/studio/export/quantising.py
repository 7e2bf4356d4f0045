# SPDX-License-Identifier: Apache-2.0
"""8-bit integers, and what they cost: accuracy and size before and after, on pictures that were not learned
from."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from inglenook.vision.preprocessing import Preprocessing
from inglenook.wire.studio.export import INPUT, MEASURED, ExportOptions, Quantized
from inglenook.workers.studio.export.checking import Run, taken
from inglenook.workers.studio.export.errors import NoPictures, Untraceable
from inglenook.workers.studio.export.pictures import Picture, Pictures

GROUP = 16
NARROW = True
"""Weights of 7 bits. With 8, sums of two products overflow on x86 processors without VNNI (AVX2's 16-bit
`vpmaddubsw`): on scikit-learn's digits that cost 3 of 98.6 % accuracy on such a machine, 7 bits nothing."""


class _Reader(CalibrationDataReader):
    """One batch after another, none of which is kept. `count`: pictures so far."""

    def __init__(self, batches: Iterable[tuple[list[Picture], npt.NDArray[Any]]]) -> None:
        self._batches = iter(batches)
        self.count = 0

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        batch = next(self._batches, None)
        if batch is None:
            return None
        self.count += len(batch[0])
        return {INPUT: batch[1]}


def groups(
    pictures: Iterator[Picture], wanted: Preprocessing, options: ExportOptions
) -> Iterator[tuple[list[Picture], npt.NDArray[Any]]]:
    """Pictures with what the file takes of them; a fixed batch is filled up with the last one."""
    size = options.batch or GROUP
    waiting: list[Picture] = []
    for one in pictures:
        waiting.append(one)
        if len(waiting) == size:
            yield waiting, taken(waiting, wanted, options)
            waiting = []
    if waiting:
        filled = waiting + [waiting[-1]] * (size - len(waiting)) if options.batch is not None else waiting
        yield waiting, taken(filled, wanted, options)


def quantise(
    source: Path, target: Path, pictures: Pictures, wanted: Preprocessing, options: ExportOptions
) -> int:
    """Write `target`; how many pictures ranges were found by.

    Raises:
        NoPictures: `static` finds none in the training part that can be read.
        Untraceable: onnxruntime cannot quantise this network.
    """
    logging.getLogger().setLevel(logging.ERROR)  # its advice goes to the root logger
    prepared = source.with_name("prepared.onnx")
    try:
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        if options.quantization == "dynamic":
            quantize_dynamic(str(prepared), str(target), weight_type=QuantType.QInt8, reduce_range=NARROW)
            return 0
        batches = groups(pictures.some("train", options.calibration_images), wanted, options)
        first = next(batches, None)
        if first is None:
            raise NoPictures("None of the pictures of the training part can be read, which set the ranges.")
        reader = _Reader(chain([first], batches))
        quantize_static(
            str(prepared),
            str(target),
            reader,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=NARROW,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return reader.count
    except (ValueError, RuntimeError, NotImplementedError, AssertionError) as error:
        raise Untraceable(f"The network could not be quantised: {str(error).strip()[:500]}") from error
    finally:
        prepared.unlink(missing_ok=True)


def measure(
    before: Run,
    after: Run,
    pictures: Pictures,
    wanted: Preprocessing,
    options: ExportOptions,
    *,
    sizes: tuple[int, int],
    calibrated: int,
    boundary: Callable[[], None],
) -> Quantized:
    """Args:
    before, after: the file as it was, and quantised. sizes: their bytes.
    """
    subset = pictures.subset
    counted = _Counted()
    for group, given in groups(pictures.some(subset, MEASURED), wanted, options):
        boundary()
        first, second = (softmax(run(given)[0])[: len(group)] for run in (before, after))
        counted.add(group, first, second)
    return Quantized(
        method=options.quantization,
        size_before=sizes[0],
        size_after=sizes[1],
        accuracy_before=counted.share(counted.right_before),
        accuracy_after=counted.share(counted.right_after),
        agreement=counted.same / counted.images,
        max_diff=counted.largest,
        mean_diff=counted.total / max(counted.values, 1),
        images=counted.images,
        subset=subset,
        calibration_images=calibrated,
    )


class _Counted:
    def __init__(self) -> None:
        self.images = self.known = self.same = self.right_before = self.right_after = self.values = 0
        self.largest = self.total = 0.0

    def add(
        self, group: Sequence[Picture], first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
    ) -> None:
        before, after = first.argmax(1), second.argmax(1)
        apart = np.abs(first - second)
        self.images += len(group)
        self.same += int((before == after).sum())
        self.largest = max(self.largest, float(apart.max()))
        self.total += float(apart.sum())
        self.values += apart.size
        for place, one in enumerate(group):
            if one.target is not None:
                self.known += 1
                self.right_before += int(before[place] == one.target)
                self.right_after += int(after[place] == one.target)

    def share(self, right: int) -> float | None:
        return right / self.known if self.known else None


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    found: npt.NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return found
