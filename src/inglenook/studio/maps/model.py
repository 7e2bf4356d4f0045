# SPDX-License-Identifier: Apache-2.0
"""A map as values. Pure."""

from typing import Annotated, Any, Literal

import msgspec

from inglenook.studio.documents import Document

MOST: int = 20_000


class MapRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person asks for.

    Attributes:
        experiment_id: whose checkpoint looks; None takes `backbone`, and where that is empty, the newest
            experiment that has a checkpoint.
        checkpoint: its name without `.ckpt`; None: `best`, or `last` where there is no best one.
        method: `pca`, or `tsne` of the first 50 principal components.
        limit: at most so many pictures, spread over the whole set: t-SNE takes minutes for many.
    """

    experiment_id: Annotated[str, msgspec.Meta(max_length=40)] | None = None
    checkpoint: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$")] | None = None
    backbone: Annotated[str, msgspec.Meta(max_length=80)] = ""
    method: Literal["pca", "tsne"] = "tsne"
    limit: Annotated[int, msgspec.Meta(ge=2, le=MOST)] = 5000
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 32
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 42


class MapOrder(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of a job. `request` has an experiment and a checkpoint, or a backbone."""

    project: str
    person: str
    request: MapRequest


class MapDocument(Document, frozen=True, kw_only=True):
    """`dataset/map/map.json`.

    Attributes:
        dataset_version: whose pictures were laid out. pictures: how many it had; shown: how many lie on the
            plane.
        weights: of the network that looked, for people. dimensions: of what it says of a picture.
    """

    dataset_version: int
    created_at: str
    request: MapRequest
    experiment: str | None = None
    weights: str
    dimensions: int
    pictures: int
    shown: int
    unreadable: int = 0
    seconds: float


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """`x`, `y` in [-1, 1]; `class_name` and `filename` as the data set has them now."""

    id: str
    x: float
    y: float
    class_name: str | None
    filename: str

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "x": round(self.x, 5),
            "y": round(self.y, 5),
            "class": self.class_name,
            "filename": self.filename,
        }
