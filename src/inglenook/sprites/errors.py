# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a request for sprites."""

from inglenook.base.errors import Failed, Invalid, Unavailable


class BadSprite(Invalid):
    """A field has a value of which no sprite can be made; `field` names it."""

    default_code = "sprite.invalid"


class EngineMissing(Unavailable):
    """The engine that is asked for is not here."""

    default_code = "engine.not_installed"


class NotConverted(Invalid):
    """The engine draws with converted models only, and this one has not been converted."""

    default_code = "model.not_converted"


class NoLoras(Invalid):
    """The engine has no use for LoRAs."""

    default_code = "lora.unsupported_engine"


class SpriteFailed(Failed):
    """Something that was needed is gone, or did not work."""

    default_code = "sprite.failed"
