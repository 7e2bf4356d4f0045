# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a request for sprites."""

from inglenook.base.errors import Invalid


class BadSprite(Invalid):
    """A field has a value of which no sprite can be made; `field` names it."""

    default_code = "sprite.invalid"
