# SPDX-License-Identifier: Apache-2.0
"""COCO's JSON: images, annotations, categories. Classes are ordered by the category's id and count from 0."""

from collections.abc import Iterator
from typing import Final

import msgspec

from inglenook.vision.formats.model import (
    CLASSIFICATION,
    DETECTION,
    MAX_DOCUMENT_BYTES,
    Entry,
    Format,
    FormatError,
    Issue,
    NamedBox,
    Parsed,
    Row,
    Tree,
    WrongTask,
    class_name,
    safe_path,
)

ONE_CLASS: Final = "name the format coco to take the pictures that show one class only, without boxes"
Id = int | str


class Image(msgspec.Struct):
    id: Id
    file_name: str


class Annotation(msgspec.Struct):
    image_id: Id
    category_id: Id
    bbox: list[float] | None = None
    iscrowd: int = 0


class Category(msgspec.Struct):
    id: Id
    name: str


class Document(msgspec.Struct):
    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


class Outline(msgspec.Struct):
    """Enough to know one: its three lists, unread."""

    images: msgspec.Raw
    annotations: msgspec.Raw
    categories: msgspec.Raw


def documents(tree: Tree) -> list[str]:
    """JSON files in the places where COCO's lie: at the top, in `annotations/`, one in each subset."""
    at = []
    for path in tree.paths:
        folder, _, name = path.rpartition("/")
        if name.lower().endswith(".json") and (
            folder in ("", "annotations") or name == "_annotations.coco.json"
        ):
            at.append(path)
    return at


def recognise(tree: Tree) -> bool:
    return _chosen(tree) != []


def _chosen(tree: Tree) -> list[str]:
    """`annotations.json` alone where it is one; else every file that is one."""
    found = [path for path in documents(tree)[:20] if _is_coco(tree, path)]
    for path in found:
        if path.lower() == "annotations.json":
            return [path]
    return found


def _is_coco(tree: Tree, path: str) -> bool:
    try:
        msgspec.json.decode(tree.read(path, MAX_DOCUMENT_BYTES), type=Outline)
    except (msgspec.MsgspecError, FormatError, RecursionError):
        return False
    return True


def parse(tree: Tree, task: str) -> Parsed:
    """For classification each picture must show one class; boxes are then left out.

    Raises:
        FormatError: no such file, several, or it does not hold what it should.
    """
    found = _chosen(tree)
    if len(found) != 1:
        if not found:
            raise FormatError("There is no COCO file (images, annotations, categories).")
        raise FormatError(
            f"There are {len(found)} COCO files: {', '.join(found[:5])}.",
            hint="import one at a time: call it annotations.json",
        )
    document = _read(tree, found[0])
    names: dict[Id, str] = {}
    for category in sorted(document.categories, key=lambda one: (isinstance(one.id, str), one.id)):
        name = class_name(category.name)
        if name is None:
            raise FormatError(f"{found[0]}: the name of category {category.id} cannot be a class.")
        names[category.id] = name
    by_image: dict[Id, list[Annotation]] = {}
    for annotation in document.annotations:
        by_image.setdefault(annotation.image_id, []).append(annotation)
    classes = tuple(dict.fromkeys(names.values()))
    about: tuple[str, ...] = ()
    if task == CLASSIFICATION and any(one.bbox for one in document.annotations):
        about = ("Boxes were left out: the project is for classification.",)
    return Parsed(classes, _rows(tree, found[0], document, by_image, names, task), about)


def _read(tree: Tree, path: str) -> Document:
    try:
        return msgspec.json.decode(tree.read(path, MAX_DOCUMENT_BYTES), type=Document)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise FormatError(f"{path} is not as COCO's files are: {str(error)[:160]}.") from None


def _rows(
    tree: Tree,
    path: str,
    document: Document,
    by_image: dict[Id, list[Annotation]],
    names: dict[Id, str],
    task: str,
) -> Iterator[Row]:
    folder = path.rpartition("/")[0]
    seen: set[str] = set()
    for image in document.images:
        where = f"{path}, image {image.id}"
        given = safe_path(image.file_name)
        if given is None:
            yield Issue(where, "path_outside", f"{image.file_name[:120]!r} is not in the data set's folder")
            continue
        file = _file(tree, folder, given)
        if file is None:
            yield Issue(where, "missing_file", f"there is no file {given[:120]}")
        elif file in seen:
            yield Issue(where, "given_twice", f"{file} is named again")
        else:
            seen.add(file)
            said = [one for one in by_image.get(image.id, ()) if not one.iscrowd]
            yield from _annotated(file, said, names, where, task)


def _file(tree: Tree, folder: str, given: str) -> str | None:
    beside = f"{folder}/{given}" if folder else given
    for candidate in (beside, given, f"images/{given}"):
        found = tree.find(candidate)
        if found is not None:
            return found
    return None


def _annotated(
    file: str, said: list[Annotation], names: dict[Id, str], where: str, task: str
) -> Iterator[Row]:
    unknown = [one.category_id for one in said if one.category_id not in names]
    if unknown:
        yield Issue(where, "no_class", f"category {unknown[0]} is not among the categories")
        return
    if task == CLASSIFICATION:
        shown = list(dict.fromkeys(names[one.category_id] for one in said))
        if len(shown) == 1:
            yield Entry(file, label=shown[0])
        else:
            what = "has no annotation" if not shown else f"shows {len(shown)} classes: {', '.join(shown[:4])}"
            yield Issue(file, "no_class" if not shown else "several_classes", f"it {what}")
        return
    boxes = []
    for one in said:
        box = one.bbox
        if box is None or len(box) != 4 or not all(abs(side) < 1e9 for side in box) or min(box[2:]) <= 0:
            yield Issue(where, "box", f"a box is not four numbers with a size: {box}", skipped=False)
        else:
            boxes.append(NamedBox(names[one.category_id], (box[0], box[1], box[2], box[3])))
    yield Entry(file, boxes=tuple(boxes))


def require_single_classes(tree: Tree) -> None:
    """For a guess at the format alone: boxes of several classes in a picture are no classification.

    Raises WrongTask.
    """
    for path in _chosen(tree):
        document = _read(tree, path)
        shown: dict[Id, set[Id]] = {}
        for one in document.annotations:
            if one.bbox and not one.iscrowd:
                shown.setdefault(one.image_id, set()).add(one.category_id)
        if any(len(classes) > 1 for classes in shown.values()):
            raise WrongTask(
                "This is a COCO data set with boxes (object detection), which cannot be trained here yet.",
                hint=ONE_CLASS,
            )


COCO: Final = Format(
    name="coco",
    title="a COCO data set with boxes",
    tasks=(CLASSIFICATION, DETECTION),
    made_for=DETECTION,
    instead=ONE_CLASS,
    recognise=recognise,
    parse=parse,
)
