# SPDX-License-Identifier: Apache-2.0
"""YOLO's text files and Pascal VOC's XML: boxes, a file for each picture."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from inglenook.vision.formats.model import (
    DETECTION,
    Entry,
    Format,
    FormatError,
    Issue,
    NamedBox,
    Parsed,
    Row,
    Tree,
    class_name,
    is_picture,
    safe_path,
)

SORT_INSTEAD: Final = (
    "for classification, sort the pictures into a folder for each class, or write a labels.csv"
)
_YAML_NAMES: Final = re.compile(r"^names:\s*(?P<list>\[.*?\])?\s*$", re.MULTILINE | re.DOTALL)
_YAML_ITEM: Final = re.compile(r"^\s+(?:-|\d+:)\s*(?P<name>.+?)\s*$")


def yolo_names(tree: Tree) -> tuple[str, ...] | None:
    """Of `classes.txt`, `obj.names` or `data.yaml`; None where there is none of them."""
    for path in ("classes.txt", "obj.names", "labels/classes.txt"):
        if tree.find(path):
            lines = [class_name(line) for line in tree.text(path).splitlines()]
            return tuple(dict.fromkeys(name for name in lines if name))
    for path in ("data.yaml", "dataset.yaml", "data.yml"):
        if tree.find(path):
            return _yaml_names(tree.text(path))
    return None


def _yaml_names(text: str) -> tuple[str, ...]:
    """Only the list `names` is read, in the two forms in which YOLO's tools write it."""
    match = _YAML_NAMES.search(text)
    if match is None:
        raise FormatError("The YOLO file has no list of names.", hint="write them into classes.txt")
    if match["list"]:
        given = [part.strip().strip("'\"") for part in match["list"].strip("[]").split(",")]
    else:
        given = []
        for line in text[match.end() :].lstrip("\n").splitlines():
            item = _YAML_ITEM.match(line)
            if item is None:
                break
            given.append(item["name"].strip("'\""))
    return tuple(name for name in (class_name(one) for one in given) if name)


def recognise_yolo(tree: Tree) -> bool:
    named = any(
        tree.find(path)
        for path in (
            "classes.txt",
            "obj.names",
            "labels/classes.txt",
            "data.yaml",
            "dataset.yaml",
            "data.yml",
        )
    )
    return named and any(_label_file(path) for path in tree.paths)


def _label_file(path: str) -> bool:
    return path.endswith(".txt") and "labels" in path.split("/")[:-1]


def parse_yolo(tree: Tree, task: str) -> Parsed:  # noqa: ARG001 - every format is asked the same
    """Raises FormatError."""
    names = yolo_names(tree)
    if not names:
        raise FormatError("classes.txt names no class.")
    return Parsed(names, _yolo_rows(tree, names))


def _yolo_rows(tree: Tree, names: tuple[str, ...]) -> Iterator[Row]:
    for path in tree.paths:
        if not is_picture(path):
            continue
        parts = path.split("/")
        if "images" in parts:
            parts[parts.index("images")] = "labels"
        labels = tree.find(str(PurePosixPath("/".join(parts)).with_suffix(".txt")))
        if labels is None:
            yield Entry(path)  # no file: nothing to be seen in it
            continue
        try:
            boxes = tuple(yolo_boxes(tree.text(labels), names))
        except (ValueError, FormatError) as error:
            yield Issue(path, "box", f"{labels}: {error}")
            continue
        yield Entry(path, boxes=boxes)


def yolo_boxes(text: str, names: tuple[str, ...]) -> Iterator[NamedBox]:
    """Raises ValueError with the line that is wrong."""
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 5:
            raise ValueError(f"line {number} has {len(fields)} fields, not 5")
        try:
            index, (x, y, width, height) = int(fields[0]), map(float, fields[1:])
        except ValueError:
            raise ValueError(f"line {number} is not a number of a class and four numbers") from None
        if not 0 <= index < len(names):
            raise ValueError(f"line {number}: there is no class {index}")
        if not all(0 <= value <= 1 for value in (x, y, width, height)):
            raise ValueError(f"line {number}: a number is not in 0 to 1")
        yield NamedBox(names[index], (x, y, width, height), relative=True)


def in_pixels(named: NamedBox, width: int, height: int) -> tuple[float, float, float, float] | None:
    """x, y, width, height in pixels, clipped to the picture; None when nothing of it is inside."""
    x, y, w, h = named.box
    if named.relative:
        x, y, w, h = (x - w / 2) * width, (y - h / 2) * height, w * width, h * height
    left, top = max(0.0, x), max(0.0, y)
    right, bottom = min(float(width), x + w), min(float(height), y + h)
    if right <= left or bottom <= top:
        return None
    return tuple(round(value, 4) for value in (left, top, right - left, bottom - top))  # type: ignore[return-value]


def recognise_voc(tree: Tree) -> bool:
    return any(_is_voc(tree, path) for path in _xml_files(tree)[:3])


def _xml_files(tree: Tree) -> list[str]:
    return [path for path in tree.paths if path.lower().endswith(".xml")]


def _is_voc(tree: Tree, path: str) -> bool:
    try:
        return voc_root(tree.read(path)).tag == "annotation"
    except FormatError:
        return False


def voc_root(data: bytes) -> ET.Element:
    """Raises FormatError. Documents that declare entities are refused: those can grow without bounds."""
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise FormatError("the XML declares a document type, which no annotation of Pascal VOC does")
    try:
        return ET.fromstring(data)  # noqa: S314 - without entities there is nothing to expand
    except (ET.ParseError, ValueError, LookupError) as error:
        raise FormatError(f"the XML cannot be read: {error}") from None


def parse_voc(tree: Tree, task: str) -> Parsed:  # noqa: ARG001 - every format is asked the same
    classes: set[str] = set()
    for path in _xml_files(tree):
        try:
            classes.update(box.class_name for box in voc_boxes(voc_root(tree.read(path))))
        except FormatError:
            continue  # told when its picture is in turn
    return Parsed(tuple(sorted(classes, key=str.casefold)), _voc_rows(tree))


def _voc_rows(tree: Tree) -> Iterator[Row]:
    by_stem: dict[str, str] = {}
    for path in tree.paths:
        if is_picture(path):
            by_stem.setdefault(PurePosixPath(path).stem, path)
    for path in _xml_files(tree):
        try:
            root = voc_root(tree.read(path))
            boxes = tuple(voc_boxes(root))
        except FormatError as error:
            yield Issue(path, "box", error.message)
            continue
        given = safe_path(root.findtext("filename") or "")
        folder = path.rpartition("/")[0]
        beside = tree.find(f"{folder}/{given}" if folder else given) if given else None
        found = beside or by_stem.get(PurePosixPath(path).stem)
        if found is None:
            yield Issue(path, "missing_file", "there is no picture for it")
        else:
            yield Entry(found, boxes=boxes)


def voc_boxes(root: ET.Element) -> Iterator[NamedBox]:
    """Corners count from 1 in Pascal VOC. Raises FormatError."""
    for found in root.iter("object"):
        name = class_name(found.findtext("name") or "")
        box = found.find("bndbox")
        if name is None or box is None:
            raise FormatError("an object has no name or no box")
        try:
            left, top, right, bottom = (
                float(box.findtext(key) or "") for key in ("xmin", "ymin", "xmax", "ymax")
            )
        except ValueError:
            raise FormatError(f"the box of {name} is not four numbers") from None
        if not (left < right and top < bottom):
            raise FormatError(f"the box of {name} has no size")
        yield NamedBox(name, (left - 1, top - 1, right - left + 1, bottom - top + 1))


YOLO: Final = Format(
    name="yolo",
    title="a YOLO data set with boxes",
    tasks=(DETECTION,),
    made_for=DETECTION,
    instead=SORT_INSTEAD,
    recognise=recognise_yolo,
    parse=parse_yolo,
)
VOC: Final = Format(
    name="pascal_voc",
    title="a Pascal VOC data set with boxes",
    tasks=(DETECTION,),
    made_for=DETECTION,
    instead=SORT_INSTEAD,
    recognise=recognise_voc,
    parse=parse_voc,
)
