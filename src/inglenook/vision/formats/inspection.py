# SPDX-License-Identifier: Apache-2.0
"""MVTec's layout (`train/good`, `test/<defect>`, `ground_truth/<defect>`) and pictures with PNG masks."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from inglenook.vision.formats.boxes import SORT_INSTEAD
from inglenook.vision.formats.model import (
    ANOMALY,
    CLASSIFICATION,
    SEGMENTATION,
    Entry,
    Format,
    FormatError,
    Issue,
    Parsed,
    Row,
    Tree,
    is_picture,
)

MASK_FOLDERS: Final = ("masks", "mask", "annotations", "labels", "gt")


def recognise_mvtec(tree: Tree) -> bool:
    folders = set(tree.folders)
    train = [name for name in folders if name.startswith("train/") and name.count("/") == 1]
    return train == ["train/good"] and ("ground_truth" in folders or "test/good" in folders)


def parse_mvtec(tree: Tree, task: str) -> Parsed:
    """For classification the kinds of defect of `test/` are the classes, asked for by the format's name."""
    rows = _mvtec_rows(tree)
    if task == ANOMALY:
        return Parsed(("normal", "anomalous"), rows, ("Masks of ground_truth were left out.",))
    kinds = {name.split("/")[1] for name in tree.folders if name.startswith(("train/", "test/"))}
    labelled = (
        Entry(row.path, label=row.path.split("/")[1], tags=row.tags) if isinstance(row, Entry) else row
        for row in rows
    )
    return Parsed(tuple(sorted(kinds, key=str.casefold)), labelled, ("Masks of ground_truth were left out.",))


def _mvtec_rows(tree: Tree) -> Iterator[Row]:
    for path in tree.paths:
        parts = path.split("/")
        if parts[0] == "ground_truth":
            continue
        if not is_picture(path):
            yield Issue(path, "other_file", "it is not called like a picture")
        elif len(parts) < 3 or parts[0] not in ("train", "test"):
            yield Issue(path, "no_class", "it lies in none of the folders that the layout has")
        else:
            yield Entry(path, anomalous=parts[1] != "good", tags=(parts[0],))


def recognise_masks(tree: Tree) -> bool:
    pictures = {
        PurePosixPath(path).stem for path in tree.paths if path.startswith(("images/", "JPEGImages/"))
    }
    if not pictures:
        return False
    for folder in MASK_FOLDERS:
        masks = {
            PurePosixPath(path).stem.removesuffix("_mask")
            for path in tree.paths
            if path.startswith(folder + "/") and path.lower().endswith(".png")
        }
        if masks and len(masks & pictures) * 2 >= len(masks):
            return True
    return False


def parse_masks(tree: Tree, task: str) -> Parsed:  # noqa: ARG001 - every format is asked the same
    raise FormatError("Pictures with masks are recognised, but cannot be read yet.", hint=SORT_INSTEAD)


MVTEC: Final = Format(
    name="mvtec",
    title="a data set in MVTec's layout",
    tasks=(ANOMALY, CLASSIFICATION),
    made_for=ANOMALY,
    instead="name the format mvtec to take its kinds of defect as classes",
    recognise=recognise_mvtec,
    parse=parse_mvtec,
)
MASKS: Final = Format(
    name="masks",
    title="a data set of pictures with masks",
    tasks=(),
    made_for=SEGMENTATION,
    instead=SORT_INSTEAD,
    recognise=recognise_masks,
    parse=parse_masks,
)
