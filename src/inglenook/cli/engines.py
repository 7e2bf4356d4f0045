# SPDX-License-Identifier: Apache-2.0
"""`inglenook engines`: which llama.cpp there are, which is used, and how to get another."""

import asyncio
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inglenook.base.errors import Invalid
from inglenook.cli.options import load_settings, settings_options
from inglenook.cli.screen import put, put_json, say, table
from inglenook.cli.starters import REGISTRY

if TYPE_CHECKING:
    from inglenook.engines.llamacpp.found import Program
    from inglenook.engines.llamacpp.installing import ReleaseInstaller
    from inglenook.engines.llamacpp.releases import Machine
    from inglenook.outgoing.service import OutgoingService
    from inglenook.settings import Loaded, Settings

LLAMA = "llama.cpp"
NEWEST = "newest"
_BUILDS = ("auto", "cpu", "cuda", "vulkan", "rocm", "metal")


@click.group()
def engines() -> None:
    """Show, install and update what runs language models."""


# ── list ────────────────────────────────────────────────────────────────────────────────────────────────


@engines.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options
def list_engines(as_json: bool, config: Path | None, data: Path | None) -> None:
    """List every llama.cpp that is found, in the order in which they are looked for.

    The first that can be used is used.
    """
    from inglenook.engines.llamacpp.found import LlamaPrograms

    settings = load_settings(config=config, data=data).settings
    found = LlamaPrograms(setting=settings.language.server, engines=settings.engine_folder)
    programs = found.every(again=True)
    used = next((one for one in programs if one.probe.problem is None), None)
    if as_json:
        put_json([_as_json(one, used=one is used) for one in programs])
        return
    if not programs:
        say(f"no llama.cpp found (language.server is {settings.language.server})")
        say("hint: inglenook engines install llama.cpp")
        return
    rows = [_row(one, used=one is used) for one in programs]
    put(table(rows, header=["engine", "from", "version", "build for", "devices", "state"]))
    for one in programs:
        say(f"{one.source}: {one.probe.problem or one.path}")
    hint = build_hint(used)
    if hint is not None:
        say(f"hint: {hint}")


def _row(one: "Program", *, used: bool) -> list[str]:
    probe = one.probe
    state = "cannot be used" if probe.problem is not None else "used" if used else "not used"
    devices = ", ".join(device.partition(":")[0] for device in probe.devices)
    return [
        LLAMA,
        str(one.source),
        probe.version or "-",
        ", ".join(probe.builds) or "-",
        devices or "-",
        state,
    ]


def _as_json(one: "Program", *, used: bool) -> dict[str, Any]:
    return {
        "engine": LLAMA,
        "from": str(one.source),
        "path": str(one.path),
        "version": one.probe.version or None,
        "build": one.probe.build,
        "builds": list(one.probe.builds),
        "devices": list(one.probe.devices),
        "used": used,
        "problem": one.probe.problem,
    }


_FITTING = {"cuda": ("CUDA", "Vulkan"), "rocm": ("ROCm", "Vulkan"), "mps": ("Metal",)}
"""Builds of llama.cpp that can use a device, by our name for its kind; the best first."""


def build_hint(used: "Program | None") -> str | None:
    """What to do where this machine has an accelerator that the llama.cpp in use was not built for."""
    from inglenook.runtime.devices import system_sources

    if used is None:
        return None
    for device in (device for source in system_sources() for device in source.devices()):
        fitting = _FITTING.get(device.kind, ())
        if fitting and not set(fitting) & set(used.probe.builds):
            return (
                f"{device.id} ({device.name}) is not used by this llama.cpp, which was built for "
                f"{', '.join(used.probe.builds)}: inglenook engines install --release, then set "
                "language.server to own"
            )
    return None


# ── install ─────────────────────────────────────────────────────────────────────────────────────────────


@engines.command()
@click.argument("engine", required=False, default=LLAMA)
@click.option(
    "--release",
    is_flag=False,
    flag_value=NEWEST,
    metavar="[TAG]",
    help="Take a release archive of llama.cpp's own page, the newest or that of TAG.",
)
@click.option(
    "--build",
    type=click.Choice(_BUILDS),
    default="auto",
    help="What the release must be built for; auto looks at this machine's devices.",
)
@settings_options
def install(engine: str, release: str | None, build: str, config: Path | None, data: Path | None) -> None:
    """Install llama.cpp: the package xllamacpp by pip, or with --release an archive of its project.

    An archive is checked against the SHA-256 that its page lists, and goes into the data folder. What was
    there before is removed when the new one has been tried.
    """
    if release == LLAMA:  # `--release llama.cpp`: the name of the engine, not of a release
        release = NEWEST
    _require_known(engine)
    loaded = load_settings(config=config, data=data)
    from inglenook.app import outgoing_of

    with outgoing_of(loaded) as outgoing:
        if release is not None:
            _install_release(loaded, outgoing, tag=None if release == NEWEST else release, build=build)
            return
        if build not in ("auto", "cpu"):
            from inglenook.engines.llamacpp.packages import OTHER_BUILDS

            raise Invalid(f"The package registry has no build for {build}.", hint=OTHER_BUILDS)
        _install_package(outgoing)


def _require_known(engine: str) -> None:
    if engine != LLAMA:
        raise Invalid(f"There is no engine {engine[:80]!r}.", hint=f"there is {LLAMA}")


def _install_package(outgoing: "OutgoingService") -> None:
    from inglenook.engines.llamacpp.found import PACKAGE
    from inglenook.engines.llamacpp.packages import OTHER_BUILDS, install_package, installed_version

    before = installed_version()
    say(f"{PACKAGE}: asking the package registry …")
    with outgoing.told(host=REGISTRY, purpose=f"the package {PACKAGE}"):
        install_package()
    now = installed_version()
    put(f"{PACKAGE} {now}: {'is the newest' if now == before else 'installed'}")
    if sys.platform != "darwin":
        say(f"hint: {OTHER_BUILDS}")


def _install_release(loaded: "Loaded", outgoing: "OutgoingService", *, tag: str | None, build: str) -> None:
    from inglenook.engines.llamacpp.installing import settle

    settings = loaded.settings
    installer = _installer(settings, outgoing)
    choice = asyncio.run(installer.newest(chosen_build(build), tag=tag))
    say(f"{LLAMA} {choice.tag} (build {choice.build}) for {choice.backend}")
    made = asyncio.run(installer.install(choice, say=say))
    installed = settle(settings.engine_folder, made, choice)
    put(f"{LLAMA} build {choice.build} for {choice.backend}: installed in {installed.folder}")
    if installed.removed:
        say("removed: " + ", ".join(f"build {number}" for number in installed.removed))
    if settings.language.server != "own":
        say(f"hint: set language.server to own, so that it is used (it is {settings.language.server} now)")


def _installer(settings: "Settings", outgoing: "OutgoingService") -> "ReleaseInstaller":
    from inglenook.engines.llamacpp.installing import ReleaseInstaller

    return ReleaseInstaller(
        engines=settings.engine_folder,
        outgoing=outgoing,
        releases=settings.language.releases,
        machine=this_machine(),
    )


def this_machine() -> "Machine":
    from inglenook.engines.llamacpp.releases import Machine

    return Machine(sys.platform, platform.machine(), _driver_cuda())


def _driver_cuda() -> tuple[int, int] | None:
    """The newest CUDA that NVIDIA's driver runs, or None without one."""
    import pynvml

    try:
        pynvml.nvmlInit()
        number: int = pynvml.nvmlSystemGetCudaDriverVersion_v2()
    except pynvml.NVMLError:
        return None
    return number // 1000, number % 1000 // 10


def chosen_build(build: str) -> str:
    """`auto` by the best device of this machine."""
    if build != "auto":
        return build
    from inglenook.runtime.devices import system_sources

    kinds = {str(device.kind) for source in system_sources() for device in source.devices()}
    for kind, name in (("cuda", "cuda"), ("rocm", "rocm"), ("mps", "metal")):
        if kind in kinds:
            return name
    return "cpu"


# ── update ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _News:
    source: str
    here: str
    newest: str | None


@engines.command()
@click.argument("engine", required=False, default=LLAMA)
@click.option("--check", is_flag=True, help="Only say what is newer.")
@click.option("--json", "as_json", is_flag=True, help="Print what is newer as JSON, and install nothing.")
@settings_options
def update(engine: str, check: bool, as_json: bool, config: Path | None, data: Path | None) -> None:
    """Say what is newer than what is installed, and install it."""
    _require_known(engine)
    loaded = load_settings(config=config, data=data)
    from inglenook.app import outgoing_of

    with outgoing_of(loaded) as outgoing:
        news = [*_package_news(outgoing), *_release_news(loaded.settings, outgoing)]
        if as_json:
            put_json([{"from": one.source, "installed": one.here, "newer": one.newest} for one in news])
            return
        if not news:
            say(
                "neither the package nor a release is installed; what is on PATH is its own owner's to update"
            )
            return
        rows = [[LLAMA, one.source, one.here, one.newest or "none"] for one in news]
        put(table(rows, header=["engine", "from", "installed", "newer"]))
        if check:
            return
        for one in news:
            if one.newest is not None and one.source == "package":
                _install_package(outgoing)
            elif one.newest is not None:
                build = _own_backend(loaded.settings)
                _install_release(loaded, outgoing, tag=None, build=build)


def _package_news(outgoing: "OutgoingService") -> list[_News]:
    from inglenook.engines.llamacpp.found import PACKAGE
    from inglenook.engines.llamacpp.packages import installed_version, newer_version

    here = installed_version()
    if here is None:
        return []
    with outgoing.told(host=REGISTRY, purpose=f"whether there is a newer {PACKAGE}"):
        return [_News("package", here, newer_version())]


def _release_news(settings: "Settings", outgoing: "OutgoingService") -> list[_News]:
    from inglenook.engines.llamacpp.found import own_builds

    own = own_builds(settings.engine_folder)
    if not own:
        return []
    newest = asyncio.run(_installer(settings, outgoing).newest(_own_backend(settings)))
    newer = f"b{newest.build}" if newest.build > own[0][0] else None
    return [_News("own", f"b{own[0][0]}", newer)]


def _own_backend(settings: "Settings") -> str:
    from inglenook.engines.llamacpp.found import own_builds
    from inglenook.engines.llamacpp.installing import installed_backend

    _, folder = own_builds(settings.engine_folder)[0]
    return installed_backend(folder) or chosen_build("auto")
