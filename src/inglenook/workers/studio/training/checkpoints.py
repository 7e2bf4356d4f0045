# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: torch's format with tensors and primitives and nothing else, whole or not at all."""

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from inglenook.workers.studio.errors import BadCheckpoint, DiskFull, why_unread
from inglenook.workers.telling import FULL

FORMAT = 1
"""Of what is in a checkpoint. A later one is refused."""


def write_checkpoint(path: Path, content: dict[str, Any]) -> int:
    """Write beside it, onto the disk, then into its place: a reader finds the old one or the new one.
    Returns its size in bytes. Raises `DiskFull`; then the old one is as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with unfinished.open("wb") as file:
            torch.save({"format": FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        size = unfinished.stat().st_size
        unfinished.replace(path)
    except (OSError, RuntimeError) as error:
        unfinished.unlink(missing_ok=True)
        if _is_full(error):
            raise DiskFull(
                f"{path.name} could not be written: no space is left on its disk. The one before is kept.",
                hint="free some space, then resume from the last checkpoint",
            ) from error
        raise
    _sync_folder(path.parent)
    return size


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Raises `BadCheckpoint` when it is none of ours, or a later format. Nothing in it is run: a pickle
    with code is refused by torch before it is opened."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise BadCheckpoint(
            f"{path.name} is not a checkpoint that can be read: {why_unread(error)}.",
            hint="put back a copy of it, take the other checkpoint, or train again",
        ) from error
    if (
        not isinstance(content, dict)
        or not isinstance(content.get("format"), int)
        or "network" not in content
    ):
        raise BadCheckpoint(f"{path.name} is not a checkpoint of the studio.")
    if content["format"] > FORMAT:
        raise BadCheckpoint(f"{path.name} has format {content['format']}; this program reads up to {FORMAT}.")
    return content


def _is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
