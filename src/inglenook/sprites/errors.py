# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a request for sprites."""

from inglenook.base.errors import Invalid


class BadSprite(Invalid):
    """A field has a value of which no sprite can be made; `field` names it."""

    default_code = "sprite.invalid"


class NotConverted(Invalid):
    """The engine draws with converted models only, and this one has not been converted."""

    default_code = "model.not_converted"


class NoLoras(Invalid):
    """The engine has no use for LoRAs."""

    default_code = "lora.unsupported_engine"
