# SPDX-License-Identifier: Apache-2.0
"""Names as ALICE's clients write them → what the catalogue calls it. Everything here blocks."""

import json
from collections.abc import Mapping
from typing import Any

from inglenook.base.errors import NotFound
from inglenook.catalog.errors import ModelAmbiguous
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.catalog.service import squashed
from inglenook.door.services import Catalog
from inglenook.images.prompt import renamed

LORA_PREFIX = "lora/"
MIN_PART_CHARS = 3
"""A shorter piece of a name would fit too much by chance."""


def picture_loras(catalog: Catalog) -> list[ModelRecord]:
    """All but those of language models."""
    return [record for record in catalog.list(ModelKind.LORA) if not record.is_adapter]


def find_lora(catalog: Catalog, name: str) -> ModelRecord:
    """The LoRA that a client means: by its id or the last part of one, with `lora/` before it or not, in any
    case and with any of `_ - space`; else, as ALICE does, by a piece of its name, if it fits only one.

    Raises:
        NotFound: there is none; the hint names the nearest.
        ModelAmbiguous: the piece fits several.
    """
    try:
        return catalog.resolve_part(name, ModelKind.LORA)
    except NotFound:
        piece = squashed(name.removeprefix(LORA_PREFIX))
        known = picture_loras(catalog)
        fitting = [record for record in known if piece in squashed(record.id.rpartition("/")[2])]
        if len(piece) < MIN_PART_CHARS or not fitting:
            raise
    if len(fitting) > 1:
        raise ModelAmbiguous(
            f"Several LoRAs have {name[:200]!r} in their names.",
            hint="write one of " + ", ".join(record.id for record in fitting[:8]),
            field="loras",
        )
    return fitting[0]


def with_found_loras(catalog: Catalog, prompt: str) -> str:
    """The prompt with the LoRAs in its tags called by their ids. Raises as `find_lora`."""
    return renamed(prompt, lambda name: find_lora(catalog, name).id)


def short_names(records: list[ModelRecord]) -> dict[str, str]:
    """Id → the last part of it where that means one thing only, else the id."""
    last = [record.id.rpartition("/")[2] for record in records]
    return {
        record.id: name if last.count(name) == 1 else record.id
        for record, name in zip(records, last, strict=True)
    }


_CLASSES: Mapping[str, str] = {
    "DDIMScheduler": "ddim",
    "EulerAncestralDiscreteScheduler": "euler_a",
    "EulerDiscreteScheduler": "euler",
    "FlowMatchEulerDiscreteScheduler": "flow_match_euler",
    "HeunDiscreteScheduler": "heun",
    "LCMScheduler": "lcm",
    "LMSDiscreteScheduler": "lms",
    "PNDMScheduler": "pndm",
    "UniPCMultistepScheduler": "unipc",
}
_OF_FAMILY: Mapping[str, str] = {
    "sd1": "pndm",
    "sd2": "ddim",
    "sdxl": "euler",
    "sd3": "flow_match_euler",
    "flux": "flow_match_euler",
    "qwen-image": "flow_match_euler",
}
"""What a single file of the family is drawn with when nobody names a scheduler."""
_MAX_CONFIG_BYTES = 1 << 16


def own_scheduler(record: ModelRecord) -> str | None:
    """The name of the scheduler that a model is drawn with when the request names none; None where we have
    no name for it."""
    if record.layout == "single":
        return _OF_FAMILY.get(record.family or "")
    config = _scheduler_config(record)
    kind = str(config.get("_class_name", ""))
    if kind in ("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"):
        return _dpm(config, kind)
    return _CLASSES.get(kind)


def _dpm(config: Mapping[str, Any], kind: str) -> str | None:
    karras = "_karras" if config.get("use_karras_sigmas") else ""
    algorithm, order = config.get("algorithm_type", "dpmsolver++"), config.get("solver_order", 2)
    if algorithm == "sde-dpmsolver++":
        return f"dpm++_sde{karras}"
    if algorithm != "dpmsolver++" or kind != "DPMSolverMultistepScheduler":
        return None
    return {2: f"dpm++_2m{karras}", 3: None if karras else "dpm++_3m"}.get(order)


def _scheduler_config(record: ModelRecord) -> Mapping[str, Any]:
    path = record.path / "scheduler" / "scheduler_config.json"
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            return {}
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
