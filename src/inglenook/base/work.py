# SPDX-License-Identifier: Apache-2.0
"""How urgent a piece of work is."""

from enum import StrEnum


class WorkClass(StrEnum):
    """How urgent a job is; the scheduler serves them in this order, and ages those that wait."""

    INTERACTIVE = "interactive"  # somebody sits and waits
    BATCH = "batch"
    TRAINING = "training"
