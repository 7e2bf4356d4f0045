# SPDX-License-Identifier: Apache-2.0
"""A folder for each class; folders below it are groups. Also the same below `train`, `val` and `test`."""

from collections.abc import Iterator
from typing import Final

from inglenook.vision.formats.model import (
    ANOMALY,
    CLASSIFICATION,
    Entry,
    Format,
    FormatError,
    Issue,
    Parsed,
    Row,
    Tree,
    class_name,
    is_picture,
)

SUBSETS: Final = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
NORMAL: Final = frozenset({"good", "ok", "normal", "pass"})
ANOMALOUS: Final = frozenset({"anomaly", "anomalous", "bad", "nok", "defect", "defective", "ng", "fail"})


def has_subsets(tree: Tree) -> bool:
    """Whether the folders at the top are parts of a split, with the classes one level below."""
    tops = tree.top_folders()
    if not tops or any(top.lower() not in SUBSETS for top in tops):
        return False
    return any("/" in folder for folder in tree.folders)


def recognise(tree: Tree) -> bool:
    return bool(tree.top_folders())


def parse(tree: Tree, task: str) -> Parsed:
    """Raises FormatError: no pictures, or (anomaly detection) other folders than it knows."""
    depth = 1 if has_subsets(tree) else 0
    names: dict[str, str] = {}  # folder → class
    about: list[str] = []
    for folder in tree.folders:
        parts = folder.split("/")
        if len(parts) == depth + 1:
            name = class_name(parts[depth])
            if name is not None:
                names[parts[depth]] = name
    if not any(is_picture(path) for path in tree.paths):
        raise FormatError(
            "There is no picture in these folders.",
            hint="a folder per class holds pictures: cats/1.jpg, dogs/1.jpg",
        )
    if task == ANOMALY:
        _require_aliases(names)
        return Parsed(("normal", "anomalous"), _rows(tree, depth, names, anomaly=True))
    if depth:
        about.append(
            "The folders train, val and test became tags of the pictures; a split can be made from them."
        )
    classes = sorted(set(names.values()), key=lambda name: (name.casefold(), name))
    return Parsed(tuple(classes), _rows(tree, depth, names, anomaly=False), tuple(about))


def _rows(tree: Tree, depth: int, names: dict[str, str], *, anomaly: bool) -> Iterator[Row]:
    for path in tree.paths:
        parts = path.split("/")
        if not is_picture(path):
            yield Issue(path, "other_file", "it is not called like a picture")
        elif len(parts) < depth + 2:
            yield Issue(path, "no_class", "it lies beside the folders of the classes, not in one")
        elif parts[depth] not in names:
            yield Issue(path, "class_name", f"its folder's name cannot be a class: {parts[depth][:80]!r}")
        else:
            name = names[parts[depth]]
            group = "/".join(parts[depth + 1 : -1]) or None
            tags = (SUBSETS[parts[0].lower()],) if depth else ()
            if anomaly:
                yield Entry(path, anomalous=name.lower() in ANOMALOUS, group=group, tags=tags)
            else:
                where = None if group is None else f"{name}/{group}"
                yield Entry(path, label=name, group=where, tags=tags)


def _require_aliases(names: dict[str, str]) -> None:
    lower = {name.lower() for name in names.values()}
    strange = sorted(lower - NORMAL - ANOMALOUS)
    if strange or not lower & NORMAL:
        found = ", ".join(sorted(names)) or "none"
        raise FormatError(
            f"Anomaly detection wants one folder of normal pictures and one of others; there are: {found}.",
            hint="call them normal and anomalous",
        )


FOLDERS: Final = Format(
    name="image_folders",
    title="a folder for each class",
    tasks=(CLASSIFICATION, ANOMALY),
    made_for=CLASSIFICATION,
    instead="",
    recognise=recognise,
    parse=parse,
)


def recognise_plain(tree: Tree) -> bool:
    return any(is_picture(path) for path in tree.root_files())


def parse_plain(tree: Tree, task: str) -> Parsed:  # noqa: ARG001 - every format is asked the same
    return Parsed((), _plain(tree), ("The pictures have no classes yet; label them on the data set's page.",))


def _plain(tree: Tree) -> Iterator[Row]:
    for path in tree.paths:
        if is_picture(path):
            yield Entry(path, group=path.rpartition("/")[0] or None)
        else:
            yield Issue(path, "other_file", "it is not called like a picture")


PLAIN: Final = Format(
    name="unlabelled",
    title="pictures without classes",
    tasks=(CLASSIFICATION, ANOMALY, "object_detection"),
    made_for=CLASSIFICATION,
    instead="",
    recognise=recognise_plain,
    parse=parse_plain,
)
