# SPDX-License-Identifier: Apache-2.0
"""How a worker tells of errors that a library has raised."""

import errno
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from inglenook.base.errors import Failed

LONGEST: Final = 4000
"""Characters of a library's error that are told."""
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Numbers of an OSError that mean a full disk, or all of it that a person may use."""


class NoRoom(Failed):
    """What the server and this worker share on the disk could not be written."""

    default_code = "store.disk_full"


@contextmanager
def room_for(what: str, folder: Path) -> Iterator[None]:
    """Around the writing of a file. Raises `NoRoom` where the disk is full; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise NoRoom(
            f"A {what} could not be written: there is no room on the disk for {folder}.",
            hint="free some space there",
        ) from error


def log_failure(log: logging.Logger, what: str, error: Exception) -> None:
    """Where it happened, and not the error's own text: that may quote a prompt."""
    places = "".join(traceback.format_tb(error.__traceback__))
    log.error("%s: %s\n%s", what, type(error).__name__, places)


def in_words(error: Exception) -> str:
    """One that names every tensor of a model is cut."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text}"[:LONGEST] if text else type(error).__name__
