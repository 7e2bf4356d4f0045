# SPDX-License-Identifier: Apache-2.0
"""A studio in a folder, and pictures to put into it."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from inglenook.base.clock import Clock
from inglenook.settings import Settings
from inglenook.store.lock import ServerInfo
from inglenook.studio.datasets.model import NewImage, VersionNote
from inglenook.studio.datasets.staging import Staging
from inglenook.studio.opening import open_studio
from inglenook.studio.projects.model import Project
from inglenook.studio.studio import Studio
from inglenook.testing.clock import FakeClock
from inglenook.vision.annotations import Annotation, Label

ANNA = "anna"
BERT = "bert"


@contextmanager
def studio_in(folder: Path, clock: Clock | None = None) -> Iterator[Studio]:
    """The studio whose workspace is `folder`/studio."""
    settings = Settings.model_validate({"server": {"data": str(folder)}})
    used = FakeClock() if clock is None else clock
    with open_studio(settings, clock=used, holder=ServerInfo(4711, "http://here:1", used.now())) as studio:
        yield studio


def project(studio: Studio, name: str = "Pets", task: str = "classification") -> Project:
    return studio.projects.create(ANNA, name, task)


def png(side_px: int = 8, shade: int = 0, **options: Any) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (side_px, side_px), (shade % 256, shade // 256 % 256, 99)).save(buffer, "PNG", **options)
    return buffer.getvalue()


def add(
    staging: Staging, original: str, data: bytes, annotations: Sequence[Annotation] = (), **more: Any
) -> None:
    """Put a file with these bytes into an import."""
    name = f"{staging.added:06}"
    (staging.folder / name).write_bytes(data)
    given = {
        "file": name,
        "width": 8,
        "height": 8,
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    staging.add(NewImage(original=original, annotations=tuple(annotations), **given | more))


def label(name: str) -> tuple[Label, ...]:
    return (Label(class_id=0, class_name=name),)


def fill(
    studio: Studio,
    project_id: str,
    classes: Mapping[str, int],
    *,
    mode: Literal["add", "replace"] = "replace",
    make: Callable[[str, int], bytes] = lambda name, place: f"{name} {place}".encode(),
    more: Callable[[str, int], dict[str, Any]] = lambda name, place: {},
) -> VersionNote:
    """Import so many pictures of each class, as `cats/cats_0.png` …

    Args:
        make: the bytes of a picture. more: further fields of its record.
    """
    staging = studio.datasets.begin(
        project_id, mode, by=ANNA, source_format="image_folders", source_path="/pictures"
    )
    for name, count in classes.items():
        for place in range(count):
            data = make(name, place)
            add(staging, f"{name}/{name}_{place}.png", data, label(name), **more(name, place))
    return staging.commit(f"{staging.added} pictures", list(classes))


def ids(studio: Studio, project_id: str) -> dict[str, str]:
    """Id by filename."""
    return {it.filename: it.id for it in studio.datasets.iterate(project_id)}
