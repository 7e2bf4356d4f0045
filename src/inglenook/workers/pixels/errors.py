# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in the pixel worker. The codes are those that the wire promises."""

from inglenook.base.errors import Cancelled, Invalid


class BadPicture(Invalid):
    """One of the pictures cannot be taken.

    Args:
        place: which one, from 0.
    """

    default_code = "pixels.unreadable"

    def __init__(self, message: str, *, place: int, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, code=code, hint=hint)
        self.place = place


class Stopped(Cancelled):
    """The server has asked to stop."""

    default_code = "pixels.cancelled"
