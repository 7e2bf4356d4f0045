# SPDX-License-Identifier: Apache-2.0
"""`inglenook studio split`: which pictures of a project train, which validate, which test."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from inglenook.cli.options import settings_options
from inglenook.cli.screen import put, put_json, say, table
from inglenook.cli.studio_import import project_named
from inglenook.cli.studio_train import SUBSETS, with_server

if TYPE_CHECKING:
    from inglenook.cli.client import ServerClient

Json = Mapping[str, Any]
METHODS: Final = ("stratified", "grouped", "time", "kfold", "manual")
_DIVIDED: Final = frozenset(METHODS) - {"manual"}
_OF: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(SUBSETS, _DIVIDED),
    "seed": _DIVIDED - {"time"},
    "group_by": frozenset({"grouped", "kfold"}),
    "folds": frozenset({"kfold"}),
    **dict.fromkeys(("assignments", "from_folders", "rest"), frozenset({"manual"})),
}
"""Methods that an option belongs to."""
_SHARE: Final = click.FloatRange(0, 1)


@click.command()
@click.argument("project")
@click.argument("name")
@click.option("--method", type=click.Choice(METHODS), default="stratified", show_default=True,
              help="Each class alike; groups kept together; by time; k-fold; by hand.")  # fmt: skip
@click.option("--train", type=_SHARE, default=0.8, show_default=True, help="Share to learn from.")
@click.option("--val", type=_SHARE, default=0.1, show_default=True, help="Share to validate with.")
@click.option("--test", type=_SHARE, default=0.1, show_default=True, help="Share to test with.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=42, show_default=True,
              help="The same seed splits alike.")  # fmt: skip
@click.option("--group-by", type=click.Choice(["group", "folder", "duplicates"]), multiple=True,
              help="What keeps pictures together, of grouped and kfold; may be given often.")  # fmt: skip
@click.option("--folds", type=click.IntRange(2, 50), default=5, show_default=True, help="Of kfold.")
@click.option("--assignments", type=click.Path(dir_okay=False, exists=True, path_type=Path),
              help="Of manual: a CSV, in each line a picture's name and its part.")  # fmt: skip
@click.option("--from-folders", is_flag=True,
              help="Of manual: a picture that came from a folder train, val or test goes there.")  # fmt: skip
@click.option("--rest", type=click.Choice([*SUBSETS, "none"]), default="none", show_default=True,
              help="Of manual: where all others go.")  # fmt: skip
@click.option("--preview", is_flag=True, help="Only show what it would be like, class by class.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options
@click.pass_context
def split(context: click.Context, /, project: str, name: str, preview: bool, as_json: bool,
          config: Path | None, data: Path | None, **given: Any) -> None:  # fmt: skip
    """Divide the pictures of PROJECT into parts, under NAME. A split never changes."""
    _require_fitting(context, given["method"])
    body = _asked(given)

    async def ask(client: "ServerClient") -> Any:
        found = await project_named(client, project)
        if preview:
            return (await client.post(f"/api/splits/{found}/preview", body))["data"]
        return (await client.post(f"/api/splits/{found}", {"name": name, **body}))["data"]

    made = with_server(config, data, ask)
    if as_json:
        put_json(made)
        return
    for warning in made["warnings"]:
        say(warning)
    if preview:
        _show_preview(name, made.get("folds") or [made])
    else:
        rows = [[it["name"], *_counts(it["stats"])] for it in made.get("splits") or [made]]
        put(table(rows, header=["split", *SUBSETS]))


def _require_fitting(context: click.Context, method: str) -> None:
    """Raises UsageError: an option was given that the method does not heed."""
    for option, methods in _OF.items():
        if method not in methods and context.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            words = ", ".join(it for it in METHODS if it in methods)
            raise click.UsageError(
                f"--{option.replace('_', '-')} does not go with {method}; it is of {words}"
            )


def _asked(given: Json) -> dict[str, Any]:
    """The body of a split, as HTTP takes it."""
    method = given["method"]
    body: dict[str, Any] = {"method": method}
    options: dict[str, Any] = {}
    if method in _DIVIDED:
        body |= {"ratios": {part: given[part] for part in SUBSETS}, "seed": given["seed"]}
    if method in _OF["group_by"] and given["group_by"]:
        options["group_by"] = list(given["group_by"])
    if method == "kfold":
        options["folds"] = given["folds"]
    if method == "manual":
        options |= {"from_folders": given["from_folders"], "rest": given["rest"]}
        if given["assignments"] is not None:
            options["assignments"] = _assignments(given["assignments"])
    return {**body, "options": options} if options else body


def _assignments(path: Path) -> dict[str, str]:
    """Part by a picture's name. Raises UsageError: it is no text, or a line is none of a name and a part."""
    found = {}
    try:
        rows = list(csv.reader(path.read_text("utf-8-sig").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise click.UsageError(f"{path} is no CSV: {error}") from None
    for number, row in enumerate(rows, 1):
        if len(row) != 2 or row[1].strip() not in (*SUBSETS, "none"):
            raise click.UsageError(
                f"{path}, line {number}: not a name, a comma, and train, val, test or none"
            )
        found[row[0].strip()] = row[1].strip()
    return found


def _show_preview(name: str, parts: Sequence[Json]) -> None:
    for number, part in enumerate(parts, 1):
        rows = [[label, *_counts(counts)] for label, counts in part["class_distribution"].items()]
        title = name if len(parts) == 1 else f"{name} {number}"
        put(table([*rows, ["all", *_counts(part["stats"])]], header=[title, *SUBSETS]))


def _counts(stats: Json) -> list[str]:
    return [str(stats[part]) for part in SUBSETS]
