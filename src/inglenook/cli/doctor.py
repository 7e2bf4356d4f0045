# SPDX-License-Identifier: Apache-2.0
"""`inglenook doctor`: what is there, what is missing, and what to do about it."""

from pathlib import Path

import click

from inglenook.cli.options import load_settings, settings_options
from inglenook.cli.screen import put, put_json


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options
def doctor(as_json: bool, config: Path | None, data: Path | None) -> None:
    """Say what is there, what is missing, and what to do.

    Ends with 1 when something that is needed is missing.
    """
    from inglenook.cli.findings import Mark, findings

    found = []
    for finding in findings(load_settings(config=config, data=data).settings):
        found.append(finding)
        if not as_json:
            put(f"{finding.mark:<8} {finding.part}: {finding.text}")
            if finding.hint is not None:
                put(f"{'':<8} hint: {finding.hint}")
    missing = [finding.part for finding in found if finding.mark is Mark.MISSING]
    if as_json:
        put_json(
            [
                {"mark": str(one.mark).lower(), "part": one.part, "text": one.text, "hint": one.hint}
                for one in found
            ]
        )
    else:
        put(f"\nmissing: {', '.join(dict.fromkeys(missing))}" if missing else "\nall that is needed is there")
    if missing:
        raise click.exceptions.Exit(1)
