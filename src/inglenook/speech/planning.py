# SPDX-License-Identifier: Apache-2.0
"""From a speech model and the settings to a plan for the ledger. Pure."""

from typing import Final

from inglenook.base.errors import Invalid
from inglenook.catalog.model import ModelRecord
from inglenook.catalog.speech_footprint import speech_footprint
from inglenook.engines.whisper import NAME
from inglenook.runtime.contracts import LoadPlan
from inglenook.wire.speech import ComputeType

BYTES_A_SECOND: Final = 200_000_000
"""Read and converted; a guess until loads have been measured."""


def load_plan(record: ModelRecord, *, compute_type: ComputeType, pinned: bool) -> LoadPlan:
    """Raises `Invalid` for a model that another engine would have to run."""
    facts = record.speech
    if facts is None or facts.engine != NAME:
        engine = "unknown" if facts is None else facts.engine
        raise Invalid(
            f"Model {record.id} is for {engine}; speech is written down by {NAME}.",
            code="model.unusable",
            field="model",
            hint="take the same model as a folder of CTranslate2 (model.bin, config.json, tokenizer.json)",
        )
    return LoadPlan(
        model=record.id,
        engine=NAME,
        footprint_bytes=speech_footprint(record, compute_type),
        load_s=1.0 + record.weights_bytes / BYTES_A_SECOND,
        pinned=pinned,
        options={"path": str(record.path), "compute_type": compute_type},
    )
