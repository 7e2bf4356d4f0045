# SPDX-License-Identifier: Apache-2.0
"""Experiments side by side, and as tables. Pure."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from inglenook.studio.training.model import EpochRecord, Experiment, summary_of


def compared(
    experiments: Sequence[Experiment], epochs: Mapping[str, Sequence[EpochRecord]]
) -> dict[str, Any]:
    """`differences`: by the configuration's field (`hyperparameters.learning_rate`) each one's value, where
    they differ; `curves`: by the name of a measure and the experiment, [epoch, value] pairs."""
    flat = {one.id: flattened(one) for one in experiments}
    names = sorted({name for fields in flat.values() for name in fields})
    differences = {
        name: {key: fields.get(name) for key, fields in flat.items()}
        for name in names
        if len({msgspec.json.encode(fields.get(name)) for fields in flat.values()}) > 1
    }
    measures = sorted({name for records in epochs.values() for record in records for name in record.values})
    curves = {
        name: {
            key: [[record.epoch, record.values[name]] for record in records if name in record.values]
            for key, records in epochs.items()
        }
        for name in measures
    }
    return {
        "experiments": [_line(one) for one in experiments],
        "differences": differences,
        "curves": curves,
    }


def _line(experiment: Experiment) -> dict[str, Any]:
    line: dict[str, Any] = msgspec.to_builtins(summary_of(experiment))
    return {
        **line,
        "best_epoch": experiment.best_epoch,
        "best_metric": experiment.best_metric,
        "final_metrics": experiment.final_metrics,
        "seconds": experiment.seconds,
        "weights": None if experiment.built is None else experiment.built.weights,
    }


def flattened(experiment: Experiment) -> dict[str, Any]:
    """The configuration with dotted names, and what it learns from."""
    fields: dict[str, Any] = {"split_name": experiment.split_name}
    if experiment.data is not None:
        fields["data.dataset_version"] = experiment.data.dataset_version
        fields["data.split_seed"] = experiment.data.split_seed
    for part, members in msgspec.to_builtins(experiment.spec).items():
        fields |= {f"{part}.{name}": value for name, value in members.items()}
    return fields


def metrics_csv(records: Sequence[EpochRecord]) -> str:
    """A row an epoch; a value that was not finite or not measured is an empty cell."""
    names = sorted({name for record in records for name in record.values})
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["epoch", "at", "best", *names])
    for record in records:
        values = [record.values.get(name, "") for name in names]
        table.writerow([record.epoch, record.at, int(record.best), *values])
    return out.getvalue()


def spec_csv(experiment: Experiment) -> str:
    """A row for each field of the configuration."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["field", "value"])
    for name, value in flattened(experiment).items():
        simple = value is None or isinstance(value, str | int | float | bool)
        table.writerow([name, value if simple else msgspec.json.encode(value).decode()])
    return out.getvalue()
