# SPDX-License-Identifier: Apache-2.0
"""The handler of `FindBatchSize`: real steps with 2, 4, 8 … pictures, until memory or the wish says enough.

What fits is found out by doing it, with the same step as in training. On a processor nothing says that
memory runs out before the system ends the process, so there the memory that is free is asked before each
size.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from inglenook.wire.studio.finding import BatchSizeFound, BatchSizeTried, FindBatchSize, TriedBatch
from inglenook.workers.image.memory import MEMORY_ERRORS, evidence_of
from inglenook.workers.studio.context import Context
from inglenook.workers.studio.device import StudioDevice
from inglenook.workers.studio.finding.trial import Trial

SLOWER = 0.9
"""Of the fastest: a smaller batch that is nearly as fast is suggested rather than a larger one."""
FREE_SHARE = 0.75
"""Of the memory that is free on a processor's machine when the search begins; the rest is for others."""
SAMPLE_S = 0.005
"""How often the resident memory is looked at, where nothing else tells its peak."""


def find_batch_size(work: FindBatchSize, context: Context) -> BatchSizeFound:
    trial = Trial(work, context)
    ceiling = min(work.ceiling, len(trial.data.manifest.train))
    limit = work.limit_bytes
    if limit is None and context.device.on_host:
        limit = (context.device.memory_bytes() or 0) + int(psutil.virtual_memory().available * FREE_SHARE)
    tried: list[TriedBatch] = []
    reason = f"{ceiling} is the largest that was asked for, or all pictures there are"
    try:
        for size in sizes(ceiling):
            if limit is not None and (foreseen := forecast(tried, size)) is not None and foreseen > limit:
                reason = f"a batch of {size} would take about {foreseen:,} bytes, and {limit:,} may be taken"
                break
            one = _try(trial, size, work.steps, context)
            tried.append(one)
            context.send(BatchSizeTried(job=work.job, tried=one))
            if not one.fits:
                reason = f"memory ran out with a batch of {size}"
                break
            if limit is not None and one.peak_bytes is not None and one.peak_bytes > limit:
                tried[-1] = TriedBatch(size=size, fits=False, peak_bytes=one.peak_bytes)
                reason = f"a batch of {size} took {one.peak_bytes:,} bytes, and {limit:,} may be taken"
                break
    finally:
        trial.close()
    largest, suggested = choose(tried)
    return BatchSizeFound(
        job=work.job, largest=largest, suggested=suggested, tried=tuple(tried), reason=reason
    )


def sizes(ceiling: int) -> list[int]:
    """2, 4, 8 … and the ceiling itself. Not 1: batch normalisation cannot learn from one picture."""
    powers = [2**power for power in range(1, ceiling.bit_length()) if 2**power < ceiling]
    return [*powers, ceiling]


def forecast(tried: list[TriedBatch], size: int) -> int | None:
    """Bytes that `size` will take, on the line through the last two sizes; None before there are two."""
    known = [(one.size, one.peak_bytes) for one in tried if one.peak_bytes is not None]
    if len(known) < 2:
        return None
    (small, less), (large, more) = known[-2:]
    return int(more + max(0, more - less) * (size - large) / (large - small))


def choose(tried: list[TriedBatch]) -> tuple[int, int]:
    """The largest that fits, and the smallest that is nearly as fast as the fastest; 0 where not one fits."""
    fit = [one for one in tried if one.fits]
    if not fit:
        return 0, 0
    fastest = max(one.examples_per_s or 0.0 for one in fit)
    quick = [one.size for one in fit if (one.examples_per_s or 0.0) >= SLOWER * fastest]
    return max(one.size for one in fit), min(quick)


def _try(trial: Trial, size: int, steps: int, context: Context) -> TriedBatch:
    device, clock = context.device, context.clock
    try:
        batches = list(trial.batches(size, 1)) * (
            steps + 1
        )  # the reading of pictures is not what is measured
        with _peak(device) as peak:
            trial.step(batches[0])
            _wait(device)
            began = clock.monotonic()
            for batch in batches[1:]:
                trial.step(batch)
            _wait(device)
            seconds = clock.monotonic() - began
    except MEMORY_ERRORS as error:
        if evidence_of(error, device) is None:
            raise
        del error
        trial.forget()
        return TriedBatch(size=size, fits=False)
    return TriedBatch(
        size=size,
        fits=True,
        peak_bytes=max(peak, default=None),
        examples_per_s=size * steps / max(seconds, 1e-9),
    )


def _wait(device: StudioDevice) -> None:
    if device.torch.type == "cuda":
        torch.cuda.synchronize(device.torch)
    elif device.torch.type == "mps":
        torch.mps.synchronize()


@contextmanager
def _peak(device: StudioDevice) -> Iterator[list[int]]:
    """The most that was held inside, as the only entry, once it is over; empty where it cannot be
    measured."""
    peak: list[int] = []
    device.release()
    if not device.on_host:
        device.reset_peak()
        yield peak
        most = device.peak_bytes()
        peak += [] if most is None else [most]
        return
    over = threading.Event()
    seen = [device.memory_bytes() or 0]

    def watch() -> None:
        while not over.wait(SAMPLE_S):
            seen.append(device.memory_bytes() or 0)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()
    peak.append(max(*seen, device.memory_bytes() or 0))
