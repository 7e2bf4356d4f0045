# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with an experiment."""

from inglenook.base.errors import Conflict, Invalid, NotFound


class ExperimentNotFound(NotFound):
    default_code = "experiment.not_found"


class CheckpointNotFound(NotFound):
    default_code = "checkpoint.not_found"


class BadSpec(Invalid):
    """A field of the configuration cannot be accepted; `field` names it with dots."""

    default_code = "experiment.invalid"


class NotTrainable(Invalid):
    """The configuration is sound, and cannot be trained with this data or on this machine."""

    default_code = "experiment.not_trainable"


def one_class(name: str) -> NotTrainable:
    """A network that has only seen one class says it of every picture, and is always right about its own."""
    return NotTrainable(
        f"All pictures of the training part are of one class, {name}: there is nothing to tell apart.",
        code="experiment.one_class",
        hint="import or label pictures of another class, and make a split that has both in its training part",
    )


class WrongStatus(Conflict):
    """What is asked for does not go with the experiment's status."""

    default_code = "experiment.status"


class TrainingInProgress(Conflict):
    """It is in the queue or runs; it must be stopped first."""

    default_code = "training.in_progress"
