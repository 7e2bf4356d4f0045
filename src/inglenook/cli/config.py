# SPDX-License-Identifier: Apache-2.0
"""`inglenook config`: what the settings are, and where each value comes from."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inglenook.base.errors import Busy, Failed, Unavailable
from inglenook.cli.options import load_settings, settings_options
from inglenook.cli.screen import put, put_json, say, table

if TYPE_CHECKING:
    from inglenook.settings import Loaded


@click.group()
def config() -> None:
    """Show the settings and where they come from."""


@config.command()
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(config: Path | None, data: Path | None, as_json: bool) -> None:
    """Print every setting with its value and its origin."""
    loaded = _with_overrides(load_settings(config=config, data=data))
    values = _values(loaded)
    words = _none_words()
    if as_json:
        put_json({key: {"value": value, "origin": loaded.origin[key]} for key, value in values.items()})
        return
    put(table([[key, _text(value, words[key]), loaded.origin[key]] for key, value in values.items()]))


def _with_overrides(loaded: "Loaded") -> "Loaded":
    """With what the database says; where it cannot be read, that is said and the rest is shown."""
    from inglenook.app import kept_overrides

    try:
        return kept_overrides(loaded)
    except (Unavailable, Failed, Busy) as error:
        say(f"note: overrides in the database are not shown: {error.message}")
        return loaded


def _values(loaded: "Loaded") -> dict[str, Any]:
    """Each value as JSON can hold it, by its key; secrets masked."""
    from inglenook.settings.declaration import is_bytes, sections
    from inglenook.settings.fields import as_plain

    return {
        f"{section}.{name}": as_plain(
            getattr(getattr(loaded.settings, section), name), is_bytes=is_bytes(model, name)
        )
        for section, model in sections().items()
        for name in model.model_fields
    }


def _none_words() -> dict[str, str]:
    """How a value that is not there is written, by key."""
    from inglenook.settings.declaration import extra_of, sections

    return {
        f"{section}.{name}": extra_of(model, name)["none"] or "-"
        for section, model in sections().items()
        for name in model.model_fields
    }


def _text(value: Any, none: str = "-") -> str:
    """As it would be written in the file, on one line."""
    if value is None:
        return none
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_text(item)}' for key, item in value.items())}}}"
    return str(value)


@config.command()
@settings_options
def path(config: Path | None, data: Path | None) -> None:
    """Print which file is read, or where it would be looked for."""
    from inglenook.settings import find_file
    from inglenook.settings.sources import default_file

    found = find_file(config=config, data=data, environ=os.environ)
    put(str(default_file(data=data, environ=os.environ) if found is None else found))
    if found is None or not found.exists():
        say("hint: the file is not there; `inglenook config example` prints one to begin with")


@config.command()
def example() -> None:
    """Print a settings file in which everything is commented out."""
    from inglenook.settings.pages import example as text

    put(text().rstrip("\n"))


@config.command(name="from-alice")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def from_alice(file: Path) -> None:
    """Print the settings file that says what FILE, the config.yaml of an ALICE server, says."""
    from inglenook.settings.alice import from_alice as read
    from inglenook.settings.alice import written

    put(written(read(file), name=file.name).rstrip("\n"))


@config.command()
@click.option("--check", is_flag=True, help="Write nothing; fail when a file is not current.")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="The project's root.  [default: this folder]",
)
def generate(check: bool, folder: Path) -> None:
    """Write the example file and the reference page of a checkout anew."""
    from inglenook.settings.pages import pages

    stale = [(folder / name, text) for name, text in pages().items() if _read(folder / name) != text]
    for file, text in stale:
        if check:
            say(f"error: {file} is not current")
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            put(str(file))
    if check and stale:
        say("hint: run `inglenook config generate`")
        raise click.exceptions.Exit(1)


def _read(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None
