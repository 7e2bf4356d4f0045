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


class WrongStatus(Conflict):
    """What is asked for does not go with the experiment's status."""

    default_code = "experiment.status"


class TrainingInProgress(Conflict):
    """It is in the queue or runs; it must be stopped first."""

    default_code = "training.in_progress"
