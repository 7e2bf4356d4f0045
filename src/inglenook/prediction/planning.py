# SPDX-License-Identifier: Apache-2.0
"""From a vision model and the settings to a plan for the ledger. Pure."""

from collections.abc import Collection
from typing import Final

from inglenook.catalog.model import ModelRecord
from inglenook.catalog.vision_footprint import vision_footprint
from inglenook.engines.onnx import NAME
from inglenook.runtime.contracts import LoadPlan

BYTES_A_SECOND: Final = 300_000_000
"""Read and made ready; a guess until loads have been measured."""
BATCH: Final = 8
"""As many pictures as the worker looks at together, of a model that takes any number."""


def load_plan(record: ModelRecord, *, pinned: bool, max_pixels: int, devices: Collection[str]) -> LoadPlan:
    """Args:
    max_pixels: of a picture; the worker refuses a larger one.
    devices: kinds on which onnxruntime runs here.
    """
    facts = record.vision
    assert facts is not None
    needed = vision_footprint(record, facts.batch or BATCH)
    return LoadPlan(
        model=record.id,
        engine=NAME,
        footprint_bytes={kind: size for kind, size in needed.items() if kind in devices},
        load_s=1.0 + record.weights_bytes / BYTES_A_SECOND,
        pinned=pinned,
        files=(record.path, *facts.outside),
        options={
            "model": {
                "path": str(record.path),
                "input": facts.input,
                "output": facts.output,
                "layout": facts.layout,
                "dtype": facts.dtype,
                "batch": facts.batch,
                "scores": facts.scores,
                "preprocessing": facts.preprocessing,
                "max_pixels": max_pixels,
            }
        },
    )
