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
    """What draws with this model is not installed here."""

    default_code = "engine.not_installed"
