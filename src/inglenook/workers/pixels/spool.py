# SPDX-License-Identifier: Apache-2.0
"""Files left in the folder that is shared with the server, which takes and removes them."""

from pathlib import Path

from inglenook.workers.telling import FULL, NoRoom


def leave(file: Path, data: bytes) -> None:
    """Raises `NoRoom` when the disk is full."""
    try:
        file.write_bytes(data)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise NoRoom(
            f"A sprite could not be written: there is no room on the disk for {file.parent}.",
            hint="free some space there",
        ) from error
