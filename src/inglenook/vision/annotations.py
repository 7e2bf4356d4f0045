# SPDX-License-Identifier: Apache-2.0
"""What a person says about a picture. One tagged type for each kind of task.

As JSON they are objects with a `type`; the field names are AI Studio's, whose documents we read. Python's
collector does not look at them (`gc=False`): they hold no cycle, and a hundred thousand of them made it stop
everything for tenths of a second.
"""

from collections.abc import Iterable
from typing import Annotated

import msgspec

ClassName = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Label(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    gc=False,
    tag_field="type",
    tag="label",
    forbid_unknown_fields=True,
):
    """The picture shows `class_name`; `class_id` counts from 0 in the data set's list of classes."""

    class_id: Annotated[int, msgspec.Meta(ge=0)]
    class_name: ClassName


class Anomaly(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    gc=False,
    tag_field="type",
    tag="anomaly",
    forbid_unknown_fields=True,
):
    """Whether the picture shows something that should not be."""

    is_anomalous: bool


class Box(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    gc=False,
    tag_field="type",
    tag="bbox",
    forbid_unknown_fields=True,
):
    """An object. `bbox`: x, y of the upper left corner, width, height, in pixels of the picture."""

    class_id: Annotated[int, msgspec.Meta(ge=0)]
    class_name: ClassName
    bbox: tuple[float, float, float, float]


Annotation = Label | Anomaly | Box

NORMAL = "normal"
ANOMALOUS = "anomalous"
"""The classes of anomaly detection."""


def primary_class(annotations: Iterable[Annotation]) -> str | None:
    """The class by which a picture is listed, filtered and split: of its first annotation; None without
    one.
    """
    for annotation in annotations:
        if isinstance(annotation, Anomaly):
            return ANOMALOUS if annotation.is_anomalous else NORMAL
        return annotation.class_name
    return None
