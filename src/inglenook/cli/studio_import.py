# SPDX-License-Identifier: Apache-2.0
"""`inglenook studio import`: pictures into a project of the running server."""

import asyncio
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from inglenook.base.errors import Conflict, Denied, Failed, Invalid, NotFound
from inglenook.base.units import format_bytes
from inglenook.cli.options import load_settings, settings_options
from inglenook.cli.screen import Progress, put, put_json, say

if TYPE_CHECKING:
    from inglenook.cli.client import ServerClient

Json = Mapping[str, Any]
_SHOWN: Final = 10
"""Names that an error lists."""
_SENT_AS_IT_IS: Final = (".zip", ".parquet", ".arrow")


@click.command(name="import")
@click.argument("what", nargs=-1, metavar="[PROJECT] SOURCE")
@click.option("--format", "source_format", help="How the pictures are labelled; found out where not given.")
@click.option("--replace", is_flag=True, help="Keep nothing of what the project has; else SOURCE is added.")
@click.option("--keep-duplicates", is_flag=True, help="Also take files that the project has already.")
@click.option("--new", "new_name", help="Make a project of this name for it, instead of PROJECT.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON.")
@settings_options
def import_pictures(
    what: tuple[str, ...],
    source_format: str | None,
    replace: bool,
    keep_duplicates: bool,
    new_name: str | None,
    as_json: bool,
    config: Path | None,
    data: Path | None,
) -> None:
    """Import the pictures of SOURCE into PROJECT (its id or its name).

    SOURCE is a folder, a zip, a parquet or an Arrow file. One that lies in a folder of studio.import_roots is
    read where it lies; any other is sent to the server.
    """
    from inglenook.cli.client import need_server

    if len(what) != (2 if new_name is None else 1):
        raise click.UsageError("Name a PROJECT and a SOURCE; or, with --new NAME, a SOURCE alone.")
    project, source = (what[0] if new_name is None else None), Path(what[-1]).resolve()
    if not source.exists():
        raise NotFound(f"There is no {source}.", code="dataset.no_source")
    address = need_server(load_settings(config=config, data=data).settings.server.data)
    fields = {"mode": "replace" if replace else "add", "keep_duplicates": keep_duplicates}
    if source_format is not None:
        fields["source_format"] = source_format
    made, job = asyncio.run(_import(address, project, new_name, source, fields))
    if as_json:
        put_json({"project_id": made, **job["result"]})
    else:
        _show(made, job["result"])


async def _import(
    address: str, project: str | None, new_name: str | None, source: Path, fields: Json
) -> tuple[str, Any]:
    """The project's id, and the job when it has succeeded."""
    from inglenook.cli.client import ServerClient

    async with ServerClient(address) as client:
        if new_name is not None:
            body = {"name": new_name, "task": "classification"}
            made = (await client.post("/api/projects", body))["data"]["id"]
            say(f"project {made}: {new_name}")
        else:
            made = await project_named(client, str(project))
        job = await _submitted(client, made, source, fields)
        return made, await followed(client, str(job["id"]))


async def project_named(client: "ServerClient", wanted: str) -> str:
    """The id of a project by its id or its name. Raises NotFound, Conflict."""
    there = (await client.get("/api/projects"))["data"]["projects"]
    found = [one["id"] for one in there if wanted == one["id"]] or [
        one["id"] for one in there if wanted.casefold() == one["name"].casefold()
    ]
    if len(found) > 1:
        raise Conflict(
            f"{len(found)} projects are called {wanted!r}.", hint=f"name its id: {', '.join(found)}"
        )
    if not found:
        hint = there_are(there, wanted)
        if not hint.endswith("?"):
            hint += "; `inglenook studio import --new NAME FOLDER` makes one"
        raise NotFound(f"There is no project {wanted!r}.", hint=hint)
    return str(found[0])


def there_are(records: Sequence[Json], wanted: str) -> str:
    """What could have been meant: the names that are most like `wanted`, or the first ones."""
    named = {str(one["name"]).casefold(): str(one["name"]) for one in records}
    names = list(named.values())
    near = [named[key] for key in get_close_matches(wanted.casefold(), named)]
    if near:
        return f"did you mean {' or '.join(near)}?"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"there are {', '.join(names[:_SHOWN])}{more}" if names else "there are none"


async def _submitted(client: "ServerClient", project: str, source: Path, fields: Json) -> Any:
    base = f"/api/datasets/{project}/import"
    try:
        body = {**fields, "source_path": str(source)}
        return (await client.post(f"{base}/local?wait=false", body))["data"]
    except Denied:
        say(f"{source} lies outside of studio.import_roots: it is sent to the server")
    with ExitStack() as stack:
        sent, name = await asyncio.to_thread(_to_send, source, stack)
        texts = {
            key: str(value).lower() if isinstance(value, bool) else value for key, value in fields.items()
        }
        return (await client.send_file(f"{base}/upload?wait=false", "uploaded_file", sent, name, texts))[
            "data"
        ]


def _to_send(source: Path, stack: ExitStack) -> tuple[Path, str]:
    """The file that is sent, and what it is called. Raises Invalid."""
    if source.is_dir():
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="inglenook-"))
        packed = Path(folder) / "sent.zip"
        _pack(source, packed)
        say(f"packed: {format_bytes(packed.stat().st_size)}")
        return packed, f"{source.name or 'pictures'}.zip"
    if not source.name.lower().endswith(_SENT_AS_IT_IS):
        raise Invalid(f"{source} is no folder, zip, parquet or Arrow file.")
    return source, source.name


def _pack(folder: Path, into: Path) -> None:
    """Stored, not squeezed: pictures are squeezed already."""
    with zipfile.ZipFile(into, "w", zipfile.ZIP_STORED) as archive:
        for path in _files(folder):
            archive.write(path, path.relative_to(folder))


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and not path.is_symlink() and path.is_file():
            yield path


async def followed(client: "ServerClient", job: str) -> Any:
    """The job when it has succeeded. Raises what it failed with."""
    from inglenook.cli.client import server_events

    with Progress(sys.stderr) as progress:
        async with client.stream("GET", f"/v1/jobs/{job}/events") as response:
            async for event, said in server_events(response):
                if event == "notice":
                    progress.message(said["text"])
                elif event == "progress":
                    progress.update(said["progress"], _label(said))
    found = await client.get(f"/v1/jobs/{job}")
    if found["state"] != "succeeded":
        error = found["error"] or {"message": f"The job was {found['state']}.", "code": None, "hint": None}
        raise Failed(error["message"], code=error["code"], hint=error["hint"])
    return found


def _label(said: Json) -> str:
    taken, skipped = said.get("taken"), said.get("skipped")
    return f"{said['stage']}" if taken is None else f"{taken} pictures, {skipped or 0} left out"


def _show(project: str, result: Json) -> None:
    for reason, told in result["by_reason"].items():
        say(f"left out, {reason}: {told['count']} (for instance {told['example']})")
    version = "nothing new" if result["version"] is None else f"version {result['version']}"
    put(f"{project}: {result['imported']} imported ({result['title']}), {result['skipped']} not; {version}")
