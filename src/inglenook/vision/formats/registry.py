# SPDX-License-Identifier: Apache-2.0
"""All formats, in the order in which they are looked for, and how one is chosen."""

from typing import Final

from inglenook.base.errors import Invalid
from inglenook.vision.formats import coco
from inglenook.vision.formats.boxes import VOC, YOLO
from inglenook.vision.formats.coco import COCO
from inglenook.vision.formats.folders import FOLDERS, PLAIN, has_subsets
from inglenook.vision.formats.huggingface import METADATA_FORMAT, TABLES
from inglenook.vision.formats.inspection import MASKS, MVTEC
from inglenook.vision.formats.model import (
    ANOMALY,
    CLASSIFICATION,
    Format,
    FormatError,
    Tree,
    is_picture,
    not_for,
)
from inglenook.vision.formats.tables import CSV

FORMATS: Final = (MVTEC, COCO, YOLO, METADATA_FORMAT, CSV, VOC, TABLES, MASKS, FOLDERS, PLAIN)
"""What a document describes comes before what only folders say."""
NAMES: Final = tuple(form.name for form in FORMATS)
_ALSO: Final = {"huggingface": "parquet", "hf": "parquet", "folders": "image_folders", "voc": "pascal_voc"}


def named(name: str) -> Format:
    """The format that a request names. Raises Invalid."""
    wanted = name.strip().lower().replace("-", "_")
    for form in FORMATS:
        if form.name == _ALSO.get(wanted, wanted):
            return form
    raise Invalid(
        f"There is no format {name[:60]!r}.",
        field="source_format",
        code="dataset.format",
        hint=f"one of {', '.join(NAMES)}; or leave it out, and it is found out",
    )


def choose(tree: Tree, task: str, asked: str | None) -> tuple[Format, Tree]:
    """The format, and the tree that it begins in: a folder that only wraps everything else is stepped into.

    Args:
        asked: the format's name, where a person has said it; None finds it out.

    Raises:
        FormatError: no format fits. Invalid: no such format.
        WrongTask: the data set is made for another task than the project's.
    """
    form = None if asked is None else named(asked)
    for _ in range(8):  # wrappers in wrappers
        found = form or next((one for one in FORMATS if one.recognise(tree)), None)
        inner = _wrapped(tree)
        if inner is None or not (found is None or found is FOLDERS or (form and not form.recognise(tree))):
            break
        tree = inner
    if found is None:
        raise FormatError(
            "There is no picture here.",
            hint="a folder per class, a labels.csv beside pictures, or one of the other formats",
        )
    _require_task(found, tree, task, guessed=asked is None)
    return found, tree


def _wrapped(tree: Tree) -> Tree | None:
    """The tree below the only folder, where nothing but folders or a description lies in it.

    One folder with pictures in it is one class.
    """
    tops = tree.top_folders()
    if len(tops) != 1 or any("/" not in path for path in tree.paths):
        return None
    inner = tree.below(tops[0])
    described = any(one.recognise(inner) for one in FORMATS if one not in (FOLDERS, PLAIN))
    bare = not any(is_picture(path) for path in inner.root_files()) and bool(inner.top_folders())
    return inner if described or (bare and not has_subsets(tree)) else None


def _require_task(form: Format, tree: Tree, task: str, *, guessed: bool) -> None:
    if task not in form.tasks:
        raise not_for(form, task)
    if task != CLASSIFICATION or not guessed:
        return
    if form is MVTEC and task != ANOMALY:
        raise not_for(form, task)
    if form is COCO:
        coco.require_single_classes(tree)
