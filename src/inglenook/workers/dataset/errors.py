# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with one file, and with all of them."""

from inglenook.base.errors import TooLarge, Unavailable


class BadFile(Exception):
    """One file cannot be taken; the others can. `reason` is stable, the text is for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Stopped(Exception):
    """The server has asked to stop."""


class TooMuch(TooLarge):
    """The source has more than it may: files, pictures or bytes."""

    default_code = "dataset.too_large"


class NoLibrary(Unavailable):
    """The format needs a library that is not installed."""

    default_code = "dataset.no_library"
