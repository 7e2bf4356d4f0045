# SPDX-License-Identifier: Apache-2.0
"""From what a person asks for to the order that a job carries out. Everything here blocks."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from inglenook.base.errors import Invalid, NotFound
from inglenook.base.ids import PersonId, PictureId
from inglenook.gallery.model import Picture
from inglenook.gallery.service import MAX_AT_ONCE, GalleryService
from inglenook.store.files import write_error
from inglenook.studio.datasets.service import DatasetsService
from inglenook.studio.imports.model import (
    ImportOrder,
    LocalFolder,
    UploadedFile,
    UploadedFiles,
)
from inglenook.studio.imports.places import SENT, TABLES, Roots, Uploads, write_manifest
from inglenook.studio.imports.work import report_path
from inglenook.studio.projects.service import ProjectsService
from inglenook.vision.formats.model import class_name, safe_path
from inglenook.wire.studio.dataset import Listed

Mode = Literal["add", "replace"]
MAX_CHOSEN = 20_000
"""Pictures of the gallery, or files in one request."""


class How(msgspec.Struct, frozen=True, kw_only=True):
    """What every import is told beside its source. `format`: None finds it out."""

    format: str | None = None
    mode: Mode = "replace"
    keep_duplicates: bool = False


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file that lies in an upload's folder. `original`: as its sender called it, perhaps with folders."""

    path: Path
    original: str


@dataclass(frozen=True, slots=True)
class ImportsService:
    """`max_upload_bytes`: of the files of one request together."""

    projects: ProjectsService
    datasets: DatasetsService
    roots: Roots
    uploads: Uploads
    max_upload_bytes: int

    def open(self, in_use: Callable[[str], bool]) -> None:
        """Make the first root, and clear away uploads that no unfinished job wants."""
        self.roots.open()
        self.uploads.sweep(in_use)

    # -- orders ------------------------------------------------------------------------------------------

    def from_folder(self, person: str, project_id: str, source_path: str, how: How) -> ImportOrder:
        """Raises ProjectNotFound, Denied, Invalid."""
        self._require(person, project_id, how)
        path = self.roots.allowed(source_path)
        return _order(person, project_id, LocalFolder(path=str(path)), how)

    def from_upload(self, person: str, project_id: str, folder: Path, name: str, how: How) -> ImportOrder:
        """A file that was received into `folder` as `SENT`. Raises as `from_folder`."""
        self._require(person, project_id, how)
        base = name.replace("\\", "/").rpartition("/")[2][:200] or "archive.zip"
        lower = base.lower()
        if not lower.endswith((".zip", *TABLES)):
            raise Invalid(
                f"{base!r} is no zip, parquet or Arrow file.",
                field="uploaded_file",
                hint="make a zip file of the folder",
            )
        if lower.endswith(TABLES):
            sent = folder / SENT
            sent.rename(sent.with_suffix(Path(lower).suffix))
        return _order(person, project_id, UploadedFile(upload=folder.name, name=base), how)

    def from_files(
        self,
        person: str,
        project_id: str,
        folder: Path,
        files: Sequence[SentFile],
        class_: str | None,
        how: How,
    ) -> ImportOrder:
        """Files that lie in `folder`. `class_`: of all of them; None leaves it to names and folders.

        Raises as `from_folder`.
        """
        self._require(person, project_id, how)
        label = _class(class_)
        rows = [_listed(file, label) for file in files]
        if not rows:
            raise Invalid("No file was sent.", field="files", hint="choose pictures")
        count = write_manifest(folder, _distinct(rows))
        what = f"{count} file{'' if count == 1 else 's'}"
        origin = UploadedFiles(upload=folder.name, labelled=label is not None, count=count, what=what)
        return _order(person, project_id, origin, how)

    def from_gallery(
        self,
        person: PersonId,
        project_id: str,
        gallery: GalleryService,
        pictures: Sequence[str],
        *,
        class_: str | None,
        class_tags: Sequence[str] = (),
        how: How,
    ) -> ImportOrder:
        """Pictures of the person's gallery.

        Args:
            class_: of all of them. class_tags: else, the first of these tags that a picture has is its class.

        Raises: as `from_folder`. Invalid: no picture, too many. NotFound: one is not there.
        """
        self._require(person, project_id, how)
        if not 1 <= len(pictures) <= MAX_CHOSEN:
            raise Invalid(
                f"{len(pictures)} pictures are chosen; it must be 1 to {MAX_CHOSEN}.", field="pictures"
            )
        label = _class(class_)
        wanted = list(dict.fromkeys(PictureId(one) for one in pictures))
        found = [
            picture
            for start in range(0, len(wanted), MAX_AT_ONCE)
            for picture in gallery.some(wanted[start : start + MAX_AT_ONCE], caller=person)
        ]
        folder = self.uploads.new()
        try:
            rows = [_of_gallery(gallery, picture, person, folder, label, class_tags) for picture in found]
            write_manifest(folder, rows)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        what = f"{len(rows)} picture{'' if len(rows) == 1 else 's'} of the gallery"
        origin = UploadedFiles(upload=folder.name, labelled=True, count=len(rows), what=what)
        return _order(person, project_id, origin, how)

    # -- reports -----------------------------------------------------------------------------------------

    def report(self, person: str, project_id: str, job: str) -> Path:
        """The report of an import, JSON lines. Raises NotFound: it left nothing out, or is too old."""
        self.projects.require(person, project_id, write=False)
        path = report_path(self.datasets, project_id, job)
        if "/" in job or "\\" in job or job.startswith(".") or not path.is_file():
            raise NotFound("There is no report of this import.", code="dataset.no_report")
        return path

    def _require(self, person: str, project_id: str, how: How) -> None:
        self.projects.require(person, project_id, write=True)
        if how.format is not None:
            from inglenook.vision.formats.registry import named

            named(how.format)


def _order(
    person: str, project_id: str, origin: LocalFolder | UploadedFile | UploadedFiles, how: How
) -> ImportOrder:
    return ImportOrder(
        project=project_id,
        person=str(person),
        origin=origin,
        format=how.format,
        mode=how.mode,
        keep_duplicates=how.keep_duplicates,
    )


def payload(order: ImportOrder) -> dict[str, Any]:
    """The order as a job keeps it."""
    said: dict[str, Any] = msgspec.to_builtins(order)
    return said


def _class(given: str | None) -> str | None:
    if given is None or not given.strip():
        return None
    name = class_name(given)
    if name is None:
        raise Invalid(f"{given[:80]!r} cannot be a class.", field="class_name")
    return name


def _listed(file: SentFile, label: str | None) -> Listed:
    original = safe_path(file.original) or f"unnamed/{file.path.name}"
    return Listed(file=str(file.path), original=original, label=label)


def _distinct(rows: Iterable[Listed]) -> Iterable[Listed]:
    """Two files of the same name are two files."""
    seen: dict[str, int] = {}
    for row in rows:
        count = seen.get(row.original, 0)
        seen[row.original] = count + 1
        if count:
            head, dot, ending = row.original.rpartition(".")
            other = f"{head}_{count}.{ending}" if dot and "/" not in ending else f"{row.original}_{count}"
            yield msgspec.structs.replace(row, original=other)
        else:
            yield row


def _of_gallery(
    gallery: GalleryService,
    picture: Picture,
    person: PersonId,
    folder: Path,
    label: str | None,
    class_tags: Sequence[str],
) -> Listed:
    kept, media_type = gallery.file(picture.id, caller=person)
    ending = media_type.rpartition("/")[2].replace("jpeg", "jpg")
    if isinstance(kept, bytes):
        path = folder / str(picture.id)
        try:
            path.write_bytes(kept)
        except OSError as error:
            raise write_error(error, path) from error
        kept = path
    tags = set(picture.tags)
    chosen = label or next((class_name(tag) for tag in class_tags if tag in tags), None)
    return Listed(
        file=str(kept),
        original=f"{picture.id}.{ending}",
        label=chosen,
        tags=tuple(sorted(tags)),
        taken_at=picture.created_at.isoformat(),
    )
