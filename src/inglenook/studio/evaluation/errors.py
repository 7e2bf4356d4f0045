# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with an evaluation."""

from inglenook.base.errors import Conflict, Failed, Invalid, NotFound
from inglenook.studio.training.errors import CheckpointNotFound

__all__ = [
    "CheckpointNotFound",
    "EvaluationExists",
    "EvaluationFailure",
    "EvaluationNotFound",
    "EvaluationRefused",
    "NotEvaluable",
    "NotReady",
    "NothingSelected",
    "NothingShared",
]


class EvaluationNotFound(NotFound):
    default_code = "evaluation.not_found"


class EvaluationExists(Conflict):
    default_code = "evaluation.exists"


class NotReady(Conflict):
    """The experiment has no checkpoint yet, or the evaluation no figures."""

    default_code = "evaluation.not_ready"


class NothingSelected(Invalid):
    """The chosen subsets hold no picture that can be looked at."""

    default_code = "evaluation.nothing_selected"


class NotEvaluable(Invalid):
    default_code = "evaluation.not_evaluable"


class NothingShared(Invalid):
    """Two evaluations have no picture in common."""

    default_code = "evaluation.nothing_shared"


class EvaluationRefused(Invalid):
    """It cannot be made as it was asked for; the code and the words are the worker's."""

    default_code = "evaluation.failed"


class EvaluationFailure(Failed):
    """It failed; the code and the words are the worker's."""

    default_code = "evaluation.failed"
