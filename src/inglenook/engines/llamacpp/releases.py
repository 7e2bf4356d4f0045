# SPDX-License-Identifier: Apache-2.0
"""What llama.cpp's project offers for download, and which of it fits a machine. Pure.

The names of its archives, as they were in October 2026 (build 11462):

    llama-b11462-bin-ubuntu-x64.tar.gz                llama-b11462-bin-macos-arm64.tar.gz
    llama-b11462-bin-ubuntu-vulkan-x64.tar.gz         llama-b11462-bin-win-cpu-x64.zip
    llama-b11462-bin-ubuntu-rocm-10.0-x64.tar.gz      llama-b11462-bin-win-cuda-13.4-x64.zip
    llama-b11462-bin-ubuntu-cuda-13.4-x64.tar.gz      cudart-llama-bin-win-cuda-13.4-x64.zip
    cudart-llama-b11462-bin-ubuntu-cuda-13.4-x64.tar.gz

A build for CUDA needs the archive with CUDA's own libraries beside it, where there is one of its version.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from inglenook.engines.llamacpp.errors import NoFittingArchive, ReleaseUnreadable

BACKENDS: Final = ("cpu", "cuda", "vulkan", "rocm", "metal")
"""What may be asked for."""

_ARCHIVE: Final = re.compile(
    r"llama-b(?P<build>\d{1,9})-bin-(?P<system>ubuntu|macos|win)-(?:(?P<backend>[a-z]+)(?:-(?P<version>[\w.]+))?-)?"
    r"(?P<machine>x64|arm64)\.(?:tar\.gz|zip)"
)
_RUNTIME: Final = re.compile(
    r"cudart-llama-(?:b\d{1,9}-)?bin-(?P<system>ubuntu|win)-cuda-(?P<version>[\d.]+)-(?P<machine>x64|arm64)\.(?:tar\.gz|zip)"
)
_TAG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
_SYSTEMS: Final[Mapping[str, str]] = {"linux": "ubuntu", "darwin": "macos", "win32": "win"}
_MACHINES: Final[Mapping[str, str]] = {
    "x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64",
}  # fmt: skip


class Asset(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a release, as the project's page lists it; what is not named here is passed over."""

    name: str
    browser_download_url: str
    size: int = 0
    digest: str | None = None
    state: str = "uploaded"


class Release(msgspec.Struct, frozen=True, kw_only=True):
    tag_name: str
    assets: tuple[Asset, ...] = ()
    draft: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """What archives are built for.

    Attributes:
        platform: as `sys.platform`. machine: as `platform.machine()`.
        cuda: the newest CUDA that the driver runs, such as (13, 2); None where there is none.
    """

    platform: str
    machine: str
    cuda: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Archive:
    """One file to fetch. `sha256`: in hexadecimal."""

    name: str
    url: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A build that fits: the archives to fetch, all into one folder, the program's first."""

    tag: str
    build: int
    backend: str
    archives: tuple[Archive, ...]


def parse_releases(data: bytes) -> tuple[Release, ...]:
    """A list of releases, or one release, as the page's API answers.

    Raises:
        ReleaseUnreadable: it is something else.
    """
    try:
        if data.lstrip()[:1] == b"{":
            return (msgspec.json.decode(data, type=Release),)
        return msgspec.json.decode(data, type=tuple[Release, ...])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ReleaseUnreadable(f"The list of releases cannot be read: {str(error)[:200]}.") from None


def checked_tag(tag: str) -> str:
    """`tag`, if it can be one: it becomes part of an address. Raises `NoFittingArchive`."""
    if not _TAG.fullmatch(tag) or ".." in tag:
        raise NoFittingArchive(f"{tag[:80]!r} is no release of llama.cpp.", hint="write it like b11462")
    return tag


def choose(releases: Sequence[Release], machine: Machine, backend: str) -> Choice:
    """The archives of the first release that has them: one that is just being made has none yet.

    Args:
        backend: one of `BACKENDS`.

    Raises:
        NoFittingArchive: none has an archive for this machine and backend, or it lists no digest.

    Of several versions of CUDA the newest that the driver runs is taken; the oldest where that is not known.
    """
    system, kind = _SYSTEMS.get(machine.platform), _MACHINES.get(machine.machine.lower())
    if system is None or kind is None:
        raise NoFittingArchive(f"There are no archives for {machine.platform} on {machine.machine}.")
    offered: set[str] = set()
    for release in releases:
        found = [one for one in _built(release) if (one.system, one.machine) == (system, kind)]
        offered |= {one.backend for one in found}
        fitting = [one for one in found if one.backend == backend and _runs(one, machine)]
        if fitting and not release.draft:
            unknown = backend == "cuda" and machine.cuda is None
            best = (min if unknown else max)(fitting, key=lambda one: one.order)
            archives = (best.asset, *_runtimes(release, best))
            return Choice(release.tag_name, best.build, backend, tuple(_archive(one) for one in archives))
    raise _nothing_fits(releases, machine, backend, offered)


@dataclass(frozen=True, slots=True)
class _Built:
    asset: Asset
    build: int
    system: str
    machine: str
    backend: str
    version: str

    @property
    def order(self) -> tuple[int, ...]:
        return _numbers(self.version)


def _built(release: Release) -> Iterator[_Built]:
    for asset in release.assets:
        match = _ARCHIVE.fullmatch(asset.name)
        if match is not None and asset.state == "uploaded":
            backend, version = match["backend"] or _plain(match), match["version"] or ""
            backend = "rocm" if backend == "hip" else backend  # Windows' name for it until 2026
            yield _Built(asset, int(match["build"]), match["system"], match["machine"], backend, version)


def _plain(match: "re.Match[str]") -> str:
    """Without a backend in its name: Metal on Apple silicon, else the CPU."""
    return "metal" if (match["system"], match["machine"]) == ("macos", "arm64") else "cpu"


def _runs(one: _Built, machine: Machine) -> bool:
    """A driver runs builds for its CUDA and older ones; of one that is not known, see `choose`."""
    if one.backend != "cuda":
        return True
    return machine.cuda is None or _numbers(one.version) <= machine.cuda


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _runtimes(release: Release, best: _Built) -> Iterator[Asset]:
    if best.backend != "cuda":
        return
    for asset in release.assets:
        match = _RUNTIME.fullmatch(asset.name)
        wanted = (best.system, best.machine, best.version)
        if match is not None and (match["system"], match["machine"], match["version"]) == wanted:
            yield asset


def _archive(asset: Asset) -> Archive:
    match = _DIGEST.fullmatch(asset.digest or "")
    if match is None:
        raise NoFittingArchive(
            f"{asset.name} is listed without a SHA-256, so that it could not be checked.",
            hint="take a newer release: its page lists one for each file since 2025",
        )
    return Archive(asset.name, asset.browser_download_url, asset.size, match[1])


def _nothing_fits(
    releases: Sequence[Release], machine: Machine, backend: str, offered: set[str]
) -> NoFittingArchive:
    tags = ", ".join(release.tag_name[:40] for release in releases[:3]) or "none"
    there = ", ".join(sorted(offered & set(BACKENDS)))
    runs = (
        ""
        if backend != "cuda" or machine.cuda is None
        else f" that CUDA {'.'.join(map(str, machine.cuda))} runs"
    )
    return NoFittingArchive(
        f"No release has a build for {backend}{runs} on {machine.platform} {machine.machine} "
        f"(looked at: {tags}).",
        hint=f"there are builds for {there}: --build"
        if there
        else "build it from source, and put it on PATH",
    )
