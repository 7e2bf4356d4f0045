# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a request for pictures."""

from inglenook.base.errors import Failed, Invalid, Unavailable


class BadRequest(Invalid):
    """A field has a value that cannot be drawn; `field` names it."""

    default_code = "image.invalid"


class DrawingFailed(Failed):
    """The worker tried, and it did not work."""

    default_code = "image.failed"


class EngineMissing(Unavailable):
    """What is to draw is not installed here."""

    default_code = "engine.not_installed"


class NotConverted(Invalid):
    """The engine draws with converted models only, and this one has not been converted."""

    default_code = "model.not_converted"


class NoLoras(Invalid):
    """The engine has no use for LoRAs."""

    default_code = "lora.unsupported_engine"
