# SPDX-License-Identifier: Apache-2.0
"""`inglenook import`: what is elsewhere into the gallery, or into the studio."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from inglenook.base.errors import Invalid, NotFound
from inglenook.cli.options import load_settings, settings_options
from inglenook.cli.screen import put, put_json, say

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif"})
Records = Mapping[str, Mapping[str, Any]]
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group(name="import")
def bring() -> None:
    """Bring pictures and projects from elsewhere."""


@bring.command()
@click.argument("folder", type=_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print what was kept and what was not as JSON.")
@settings_options
def pictures(folder: Path, as_json: bool, config: Path | None, data: Path | None) -> None:
    """Import all PNG, JPEG and WebP pictures in FOLDER and below it."""
    _import(folder, list(_pictures_in(folder)), {}, as_json=as_json, config=config, data=data)


@bring.command()
@click.argument("folder", type=_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print what was kept and what was not as JSON.")
@settings_options
def alice(folder: Path, as_json: bool, config: Path | None, data: Path | None) -> None:
    """Import the gallery of an ALICE server: FOLDER holds gallery.json and, below it, the pictures."""
    lists = sorted(folder.rglob("gallery.json"))
    if not lists:
        raise NotFound(
            f"There is no gallery.json in {folder} or below it.",
            code="import.no_list",
            hint="name the folder that holds ALICE's data and images",
        )
    records = _records(lists[0])
    found = [path for path in _pictures_in(folder) if path.name in records]
    for name in sorted(set(records) - {path.name for path in found}):
        say(f"{name}: in the list, but there is no such file")
    _import(folder, found, records, as_json=as_json, config=config, data=data)


@bring.command(name="ai-studio")
@click.argument("folder", type=_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print what was copied and what was not as JSON.")
@settings_options
def ai_studio(folder: Path, as_json: bool, config: Path | None, data: Path | None) -> None:
    """Copy the projects of an AI Studio: FOLDER holds its workspace.json. No server may run meanwhile.

    Pictures, labels and splits become projects of the studio, and experiments become ones that can be read;
    checkpoints and exports are kept beside them as they are.
    """
    import msgspec

    from inglenook.app import studio_of
    from inglenook.base.ids import OWNER
    from inglenook.studio.foreign.bringing import bring_ai_studio

    with studio_of(load_settings(config=config, data=data)) as studio:
        report = bring_ai_studio(studio, folder, person=OWNER)
    for line in report.left:
        say(line)
    if as_json:
        put_json(msgspec.to_builtins(report))
        return
    for one in report.projects:
        put(
            f"{one.project.name} ({one.project.id}): {one.pictures} pictures, {len(one.splits)} splits,"
            f" {len(one.experiments)} experiments, {len(one.exports)} exports"
        )
    put(f"copied: {len(report.projects)}, left: {len(report.left)}")


def _pictures_in(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            yield path


def _records(path: Path) -> Records:
    from inglenook.images.foreign import alice_records

    try:
        found = alice_records(json.loads(path.read_bytes()))
    except (ValueError, RecursionError):
        found = None
    if found is None:
        raise Invalid(f"{path} is no gallery.json of ALICE.", code="import.list")
    return found


def _import(
    folder: Path,
    paths: list[Path],
    records: Records,
    *,
    as_json: bool,
    config: Path | None,
    data: Path | None,
) -> None:
    from inglenook.cli.client import need_server

    if not paths:
        raise NotFound(f"There is no picture to import in {folder}.", code="import.nothing")
    address = need_server(load_settings(config=config, data=data).settings.server.data)
    kept, refused = asyncio.run(_send_all(address, paths, records))
    if as_json:
        put_json({"data": kept, "refused": refused})
    else:
        put(f"{len(kept)} imported, {len(refused)} not")


async def _send_all(
    address: str, paths: list[Path], records: Records
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """One by one: a body has a limit, and what was sent is kept when the rest fails."""
    from inglenook.cli.client import ServerClient

    kept: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    async with ServerClient(address) as client:
        for path in paths:
            answer = await client.bring(
                path.name, await asyncio.to_thread(path.read_bytes), records.get(path.name)
            )
            kept += answer["data"]
            for one in answer["refused"]:
                refused.append({**one, "name": str(path)})
                say(f"{path}: {one['error']['message']}")
    return kept, refused
