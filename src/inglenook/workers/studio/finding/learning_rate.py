# SPDX-License-Identifier: Apache-2.0
"""The handler of `FindLearningRate` (Smith, 2015: "Cyclical Learning Rates for Training Neural Networks")."""

import math
from collections.abc import Sequence

from inglenook.wire.studio.finding import FindLearningRate, LearningRateFound, LearningRateTried, RatePoint
from inglenook.workers.studio.context import Context
from inglenook.workers.studio.errors import InvalidSpec
from inglenook.workers.studio.finding.trial import Trial

SMOOTHING = 0.9
"""Of the running average of the losses; its beginning is corrected for."""
EXPLODED = 4.0
"""A smoothed loss so many times the least one ends the search."""
LEFT_OUT = 5
"""The first points say nothing yet: the average is young."""


def find_learning_rate(work: FindLearningRate, context: Context) -> LearningRateFound:
    """Raises `InvalidSpec` when the range is empty."""
    if work.lowest >= work.highest:
        raise InvalidSpec(f"The lowest rate, {work.lowest}, is not below the highest, {work.highest}.")
    trial = Trial(work, context)
    points: list[RatePoint] = []
    average = 0.0
    reason = f"all {work.steps} steps were taken"
    size = min(work.spec.hyperparameters.batch_size, len(trial.data.manifest.train))
    try:
        for step, batch in enumerate(trial.batches(size, work.steps)):
            rate = work.lowest * (work.highest / work.lowest) ** (step / (work.steps - 1))
            loss = float(trial.step(batch, rate=rate))
            average = SMOOTHING * average + (1 - SMOOTHING) * loss
            smoothed = average / (1 - SMOOTHING ** (step + 1))
            if not math.isfinite(smoothed):
                reason = f"the loss is no number any more at {rate:.2g}"
                break
            points.append(RatePoint(rate, loss, smoothed))
            context.send(LearningRateTried(job=work.job, step=step + 1, steps=work.steps, point=points[-1]))
            if smoothed > EXPLODED * min(point.smoothed for point in points):
                reason = f"the loss exploded at {rate:.2g}"
                break
    finally:
        trial.close()
    suggested = steepest(points)
    if suggested is None:
        reason += "; the loss falls nowhere, so nothing is suggested"
    return LearningRateFound(job=work.job, suggested=suggested, points=tuple(points), reason=reason)


def steepest(points: Sequence[RatePoint]) -> float | None:
    """The rate at which the smoothed loss falls fastest against the rate's logarithm; None where it falls
    nowhere. Points after the least loss do not count."""
    least = min(range(len(points)), key=lambda place: points[place].smoothed, default=0)
    falls = [
        (points[place + 1].smoothed - points[place - 1].smoothed, points[place].learning_rate)
        for place in range(LEFT_OUT, min(least, len(points) - 1))
    ]
    slope, rate = min(falls, default=(0.0, 0.0))
    return rate if slope < 0 else None
