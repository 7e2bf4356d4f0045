# SPDX-License-Identifier: Apache-2.0
"""From a vision model and the settings to a plan for the ledger. Pure."""

from collections.abc import Collection
from typing import Final

from inglenook.base.errors import Unavailable
from inglenook.catalog.model import ModelRecord
from inglenook.catalog.vision_footprint import vision_footprint
from inglenook.engines.onnx import NAME
from inglenook.runtime.contracts import LoadPlan

BYTES_A_SECOND: Final = 300_000_000
"""Read and made ready; a guess until loads have been measured."""
BATCH: Final = 8
"""As many pictures as the worker looks at together, of a model that takes any number."""


def mark(record: ModelRecord) -> str:
    """Of the file as it was read: another file under the same name has labels of its own, and so gets a
    process of its own."""
    return f"{record.digest[:8]}-{int(record.created * 1000):x}"


def load_plan(record: ModelRecord, *, pinned: bool, max_pixels: int, devices: Collection[str]) -> LoadPlan:
    """Raises Unavailable: onnxruntime is not installed.

    Args:
        max_pixels: of a picture; the worker refuses a larger one.
        devices: kinds on which onnxruntime runs here.
    """
    if not devices:
        raise Unavailable(
            f"{record.id} needs onnxruntime, which is not installed.",
            code="prediction.no_runtime",
            hint="pip install onnxruntime",
        )
    facts = record.vision
    assert facts is not None
    needed = vision_footprint(record, facts.batch or BATCH)
    return LoadPlan(
        model=record.id,
        engine=NAME,
        footprint_bytes={kind: size for kind, size in needed.items() if kind in devices},
        load_s=1.0 + record.weights_bytes / BYTES_A_SECOND,
        pinned=pinned,
        apart=mark(record),
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
