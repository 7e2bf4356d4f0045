# SPDX-License-Identifier: Apache-2.0
"""An export's file in the library of models: put there whole or not at all, and found again. Blocks."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from inglenook.catalog.errors import ModelNotFound
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.catalog.onnx import SUFFIX
from inglenook.catalog.service import CatalogService
from inglenook.store.files import sync_folder, write_error
from inglenook.studio.export.errors import NameTaken

PART: Final = ".new-"


class Library:
    """Args:
    folder: the data folder's own models.
    """

    def __init__(self, *, catalog: CatalogService, folder: Path) -> None:
        self._catalog = catalog
        self._folder = folder

    def put(self, source: Path, name: str) -> ModelRecord:
        """Make a file of an export a model of the library, known at once.

        It is a link where the file system allows it, else a copy: an export's file is never changed.

        Raises:
            NameTaken: there is a model of that name, or a file.
            Failed, Unavailable: it cannot be written.
        """
        target = self._folder / f"{name}{SUFFIX}"
        self._catalog.refresh()
        taken = {one.id.casefold() for one in self._catalog.known()}
        if name.casefold() in taken or target.exists():
            raise NameTaken(
                f"The library has a model {name!r} already.", field="name", hint="choose another name"
            )
        part = self._folder / f"{PART}{secrets.token_hex(6)}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _link_or_copy(source, part)
            os.link(part, target) if hasattr(os, "link") else part.rename(target)
            sync_folder(self._folder)
        except FileExistsError:
            raise NameTaken(
                f"The library has a file {target.name} already.", field="name", hint="choose another name"
            ) from None
        except OSError as error:
            raise write_error(error, target) from error
        finally:
            part.unlink(missing_ok=True)
        self._catalog.refresh()
        return self._catalog.at(target)

    def find(self, file: str, digest: str) -> ModelRecord | None:
        """The model of a file of the folder; None where it is gone, or another file by now."""
        self._catalog.refresh()
        with contextlib.suppress(ModelNotFound):
            record = self._catalog.at(self._folder / file)
            return record if record.digest == digest else None
        return None

    def lineages(self) -> Mapping[str, Mapping[str, Any]]:
        """By each model that looks at pictures and can be used, where it comes from as its file tells it;
        of a file that the studio did not make, nothing.
        """
        found = self._catalog.list(ModelKind.VISION)
        return {one.id: one.vision.lineage for one in found if one.vision is not None and not one.problem}


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except (OSError, AttributeError):  # another file system, or one without links
        with source.open("rb") as read, target.open("xb") as written:
            shutil.copyfileobj(read, written, 1024 * 1024)
            written.flush()
            os.fsync(written.fileno())
