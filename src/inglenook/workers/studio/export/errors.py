# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in an export. The codes are those that the wire promises."""

from inglenook.base.errors import Failed, Invalid
from inglenook.wire.studio.export import Quantized, Validation


class CannotPreprocess(Invalid):
    """What is done to pictures before this network cannot be done without torchvision."""

    default_code = "export.preprocessing"


class WrongShape(Invalid):
    default_code = "export.shape"


class NoPictures(Failed):
    default_code = "export.no_pictures"


class Untraceable(Failed):
    """The exporter could not follow the network."""

    default_code = "export.untraceable"


class CheckFailed(Failed):
    default_code = "export.check_failed"

    def __init__(self, message: str, *, validation: Validation, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.validation = validation


class AccuracyLost(Failed):
    default_code = "export.accuracy_lost"

    def __init__(self, message: str, *, validation: Validation, quantized: Quantized, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.validation = validation
        self.quantized = quantized
