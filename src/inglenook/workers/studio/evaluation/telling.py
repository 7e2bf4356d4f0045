# SPDX-License-Identifier: Apache-2.0
"""How work on a checkpoint ends, in the codes that its messages promise."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from inglenook.base.errors import InglenookError
from inglenook.wire.message import Message
from inglenook.wire.studio.evaluation import WorkFailed
from inglenook.workers.studio.errors import DiskFull
from inglenook.workers.telling import FULL, LONGEST


def told(job: str, run: Callable[[], Message]) -> Message:
    """What `run` returns; errors of the studio's worker as `WorkFailed`, their codes under `studio.`."""
    try:
        return run()
    except InglenookError as error:
        code = error.code.removeprefix("train.")
        return WorkFailed(
            job=job,
            code=code if "." in code else f"studio.{code}",
            message=error.message[:LONGEST],
            hint=error.hint,
        )


def write_array(path: Path, array: np.ndarray) -> None:
    """As a file of NumPy, whole or not at all. Raises DiskFull."""
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with unfinished.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        if error.errno in FULL:
            raise DiskFull(
                f"{path.name} could not be written: no space is left on its disk.", hint="free some space"
            ) from error
        raise
