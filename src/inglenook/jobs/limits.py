# SPDX-License-Identifier: Apache-2.0
"""How many jobs, and how often they are told of."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JobLimits:
    """The bounds of a `JobsService`.

    Attributes:
        queue_limit: unfinished jobs of everybody.
        person_limit: unfinished jobs of one person.
        max_active: jobs of one work class that are begun and not finished. One bound a class, so that
            training that runs for hours never stands before somebody who waits.
        progress_every_s: the shortest time between two progress events of a job.
        cancel_wait_s: how long a cancel waits for the work to stop.
        pulse_s: how often waiting jobs are asked why they wait.
        threads: for the database.
    """

    queue_limit: int = 1000
    person_limit: int = 200
    max_active: int = 64
    progress_every_s: float = 0.25
    cancel_wait_s: float = 30.0
    pulse_s: float = 1.0
    threads: int = 4
