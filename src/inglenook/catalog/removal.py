# SPDX-License-Identifier: Apache-2.0
"""Taking a model's files away for good: only what lies in the data folder's own models. Everything blocks.

It is moved aside first, under a hidden name in the same folder, where no scan finds it; then whoever holds it
in memory lets go; then it is deleted, or put back where that did not work.
"""

import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from inglenook.base.errors import Conflict, Denied
from inglenook.catalog.model import ModelRecord
from inglenook.catalog.sidecar import sidecar_path
from inglenook.catalog.splits import parts_of
from inglenook.store.files import write_error


@dataclass(frozen=True, slots=True)
class SetAside:
    """`moved`: where each file or folder was, and where it is now."""

    moved: tuple[tuple[Path, Path], ...]

    def put_back(self) -> None:
        for was, now in self.moved:
            now.rename(was)

    def destroy(self) -> None:
        for _, now in self.moved:
            if now.is_dir() and not now.is_symlink():
                shutil.rmtree(now)
            else:
                now.unlink(missing_ok=True)


def require_removable(record: ModelRecord, *, own: Path, others: Iterable[ModelRecord]) -> None:
    """Raise unless the model is the person's own to delete.

    Args:
        own: the data folder's `models`.
        others: all models, among which some may use this one's file as a part.

    Raises:
        Denied: it came with the program (`model.builtin`), or lies in another program's folder
            (`model.not_ours`).
        Conflict: another model is put together with it (`model.is_part`).
    """
    if record.builtin:
        raise Denied(f"{record.id} came with the program and is not deleted.", code="model.builtin")
    inside = record.root == own and record.path != own
    if not inside or not record.path.parent.resolve().is_relative_to(own.resolve()):
        raise Denied(
            f"{record.id} lies in a folder that is only read here.",
            code="model.not_ours",
            hint=f"delete {record.path} with the program that it belongs to",
        )
    users = [one.id for one in others if one.id != record.id and _lends(record, one)]
    if users:
        raise Conflict(
            f"{record.id} is a part of {', '.join(users[:5])}.",
            code="model.is_part",
            hint="delete what uses it first",
        )


def _lends(record: ModelRecord, other: ModelRecord) -> bool:
    """Whether the other is put together with this one's file, or with a component of its folder."""
    return any(part.is_relative_to(record.path) for part in other.parts.values())


def set_aside(record: ModelRecord) -> SetAside:
    """Move the model, and the file with notes about it where there is one, out of every scan's sight.

    Raises:
        Unavailable: the folder cannot be written to.
    """
    token = secrets.token_hex(6)
    moved = []
    files = [record.path] if record.path.is_dir() else [*parts_of(record.path), sidecar_path(record.path)]
    try:
        for path in files:
            if path.exists() or path.is_symlink():
                hidden = path.with_name(f".deleted-{token}-{path.name}"[:200])
                path.rename(hidden)
                moved.append((path, hidden))
    except OSError as error:
        SetAside(tuple(moved)).put_back()
        raise write_error(error, record.path.parent) from error
    return SetAside(tuple(moved))
