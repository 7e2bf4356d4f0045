# SPDX-License-Identifier: Apache-2.0
"""An evaluation's files as a table. NumPy; imported only where results are read."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from inglenook.studio.errors import CorruptDocument
from inglenook.studio.evaluation.documents import MANIFEST
from inglenook.studio.evaluation.pictures import read_manifest
from inglenook.studio.evaluation.table import Table
from inglenook.wire.studio.evaluation import LOGITS


def read_table(folder: Path, classes: Sequence[str]) -> tuple[Table, Mapping[str, str]]:
    """Every picture with an answer; and all files by the picture's id, also of those without.

    Raises:
        CorruptDocument: the files are gone, or do not belong together.
    """
    try:
        examples = list(read_manifest(folder / MANIFEST))
        logits = np.load(folder / LOGITS, allow_pickle=False)
    except (OSError, ValueError, EOFError, msgspec.MsgspecError) as error:
        raise CorruptDocument(
            f"The results in {folder.name} cannot be read: {str(error)[:200]}", hint="evaluate it again"
        ) from error
    if logits.shape != (len(examples), len(classes)) or logits.dtype != np.float32:
        raise CorruptDocument(
            f"The results in {folder.name} are {logits.dtype} {logits.shape}; {len(examples)} pictures and "
            f"{len(classes)} classes were asked for.",
            hint="evaluate it again",
        )
    seen = np.flatnonzero(np.isfinite(logits).all(axis=1))
    kept = [examples[row] for row in seen]
    table = Table(
        classes=tuple(classes),
        ids=tuple(one.id for one in kept),
        filenames=tuple(Path(one.file).name for one in kept),
        subsets=tuple(one.subset for one in kept),
        truth=np.array([int(one.target) for one in kept], np.int64),
        logits=logits[seen].astype(np.float64),
    )
    return table, {one.id: one.file for one in examples}
