# SPDX-License-Identifier: Apache-2.0
"""The example file and the reference page, made from the declaration, so that neither can be out of date."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic.fields import FieldInfo

from inglenook.base.units import format_bytes
from inglenook.settings.declaration import SCHEMA_VERSION, Section, extra_of, is_bytes, sections
from inglenook.settings.fields import as_plain
from inglenook.settings.sources import CONFIG_VARIABLE, FILE_NAME, variable_of

EXAMPLE_FILE = Path("config.example.yaml")
REFERENCE_FILE = Path("docs/reference/settings.md")

_BOUND_WORDS = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "below {}"}


def pages() -> Mapping[Path, str]:
    """Each generated file's text by its path from the project's root."""
    return {EXAMPLE_FILE: example(), REFERENCE_FILE: reference()}


def example() -> str:
    """A `config.yaml` in which every setting stands, commented out, with its default."""
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        "# The settings of Inglenook, each with its default. Made by `inglenook config generate`.",
        f"# Copy what you want to change into `{FILE_NAME}` in the data folder:",
        "# `inglenook config path` names it.",
        "",
        f"schema_version: {SCHEMA_VERSION}",
    ]
    for name, model in sections().items():
        lines += ["", f"# {model.__doc__}", f"{name}:"]
        for key in model.model_fields:
            lines += [
                f"  # {model.model_fields[key].description}",
                f"  # Accepts: {accepts(model, key)}.",
                f"  # {key}: {written_default(model, key)}".rstrip(),
                "",
            ]
        lines.pop()
    return "\n".join(lines) + "\n"


def written_default(model: type[Section], key: str) -> str:
    """The default as YAML; an example where it differs between machines."""
    example = extra_of(model, key)["example"]
    default = model.model_fields[key].get_default(call_default_factory=True)
    value = as_plain(default, is_bytes=is_bytes(model, key))
    if example is not None:
        return str(example)
    if value is None:
        return str(extra_of(model, key)["none"])
    if isinstance(value, str):
        return value
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)  # JSON is YAML


_INTRODUCTION = f"""\
<!-- Made by `inglenook config generate` from the declaration in src/inglenook/settings: do not edit. -->
# Settings

Every setting has a default. A value is looked for in this order, and the last one found counts:

1. the default below;
2. the file `{FILE_NAME}` in the data folder, or the one that `--config` or `{CONFIG_VARIABLE}` names;
3. the environment, for instance `INGLENOOK_SERVER__PORT=9000`: two underscores between section and name, an
   empty variable counts as not set;
4. an override kept in the database, but not for those marked *early*, which are needed to open it;
5. the command line of `inglenook serve`.

`inglenook config show` prints every value with its origin. A name that does not exist, a value out of its
bounds and a file that cannot be read stop the server with the place and the nearest valid name.
[`{EXAMPLE_FILE}`](../../{EXAMPLE_FILE}) holds all of them to copy from.
"""


def reference() -> str:
    """The page that lists every setting."""
    lines = [_INTRODUCTION.rstrip()]
    for name, model in sections().items():
        lines += ["", f"## `{name}`", "", str(model.__doc__), ""]
        lines += ["| setting | default | accepts | what it does |", "| --- | --- | --- | --- |"]
        lines += [_row(name, model, key) for key in model.model_fields]
    return "\n".join(lines) + "\n"


def _row(section: str, model: type[Section], key: str) -> str:
    early = " *Early.*" if extra_of(model, key)["early"] else ""
    default = _default_words(model, key)
    cells = [
        f"`{key}`<br>`{variable_of(f'{section}.{key}')}`",
        default,
        accepts(model, key),
        f"{model.model_fields[key].description}{early}",
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default_words(model: type[Section], key: str) -> str:
    text = extra_of(model, key)["default_text"]
    written = written_default(model, key)
    return str(text) if text is not None else f"`{written}`" if written else "empty"


def accepts(model: type[Section], key: str) -> str:
    """What may be written: ``whole number from 0 to 65535``, with the unit."""
    extra = extra_of(model, key)
    unit = extra["unit"]
    words, comma, rest = str(extra["accepts"]).partition(", or ")
    if unit is not None and unit not in {"bytes", "port"}:
        words = words.replace("number", f"number of {unit}", 1)
    bounds = _bounds(model.model_fields[key], amounts=is_bytes(model, key))
    return " ".join([words, *bounds]) + comma + rest


def _bounds(field: FieldInfo, *, amounts: bool) -> list[str]:
    found = []
    for rule in field.metadata:
        for name, word in _BOUND_WORDS.items():
            bound = getattr(rule, name, None)
            if bound is not None:
                found.append(word.format(format_bytes(bound) if amounts else bound))
        longest = getattr(rule, "max_length", None)
        if longest is not None:
            found.append(f"(at most {longest} of them)")
    return found
