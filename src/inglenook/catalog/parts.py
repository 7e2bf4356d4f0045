# SPDX-License-Identifier: Apache-2.0
"""Models that lack components, and the files and folders that lend them. Pure.

A FLUX file that holds its transformer alone draws with a CLIP-L, a T5 and a VAE that lie elsewhere in the
model folders: alone, or inside a complete diffusers folder of the same family. Which one, where several
would do:

1. the one that the sidecar names (`image.parts`);
2. of the same registered folder;
3. inside a complete diffusers folder;
4. a VAE that can only be this family's, before one that may be another's;
5. not in float8, which has lost something;
6. nearest in the tree of folders, then by id.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from inglenook.catalog.components import TITLES, fills
from inglenook.catalog.model import ModelKind, ModelRecord, Need

_EXAMPLES: Mapping[str, str] = {
    "clip_l": "clip_l.safetensors",
    "clip_g": "clip_g.safetensors",
    "t5": "t5xxl_fp16.safetensors",
    "qwen2.5-vl": "qwen_2.5_vl_7b.safetensors",
    "vae": "the VAE of its family (for FLUX.1: ae.safetensors)",
    "vae_3d": "qwen_image_vae.safetensors",
}
"""What the file is usually called where people get it; only its content counts."""


@dataclass(frozen=True, slots=True)
class _Offer:
    """One thing that may fill a slot. `record`: who has it."""

    record: ModelRecord
    path: Path
    parameters: int
    in_folder: bool


def with_parts(records: Sequence[ModelRecord]) -> list[ModelRecord]:
    """The records in their order, with `parts` filled where they need some, and a `problem` where one that is
    required is nowhere."""
    lenders = [record for record in records if record.problem is None and _may_lend(record)]
    return [_equipped(record, lenders) if record.needs else record for record in records]


def _may_lend(record: ModelRecord) -> bool:
    """Thousands of LoRAs need not be asked one after another by each model that lacks something."""
    return record.role is not None or (record.kind is ModelKind.IMAGE and record.layout == "folder")


def _equipped(record: ModelRecord, lenders: Sequence[ModelRecord]) -> ModelRecord:
    if record.problem is not None:
        return record
    parts: dict[str, Path] = {}
    counts: dict[str, int] = {}
    missing: list[Need] = []
    problem = _unknown_slots(record)
    for need in record.needs:
        named = record.named_parts.get(need.slot)
        offers = list(_offers(need, record, lenders))
        if named is not None:
            offers = [offer for offer in offers if _is_called(offer, named)]
            if not offers:
                problem = problem or _bad_name(need, named, lenders)
                continue
        if offers:
            best = min(offers, key=lambda offer: _rank(offer, record))
            parts[need.slot], counts[need.slot] = best.path, best.parameters
        elif need.required:
            missing.append(need)
    if missing and problem is None:
        problem = _lacking(missing)
    return replace(record, parts=parts, part_parameters=counts, problem=problem)


def _offers(need: Need, record: ModelRecord, lenders: Iterable[ModelRecord]) -> Iterator[_Offer]:
    for lender in lenders:
        if lender.kind is ModelKind.IMAGE and lender.family == record.family:
            yield from _of_folder(need, lender)
        elif lender.role is not None and fills(lender.role, need.role) and _fits(need, record, lender):
            yield _Offer(lender, lender.path, lender.parameters, in_folder=False)


def _fits(need: Need, record: ModelRecord, lender: ModelRecord) -> bool:
    able = not lender.fits or record.family in lender.fits
    return able and _wide_enough(need, lender.widths.get(lender.role or ""))


def _of_folder(need: Need, lender: ModelRecord) -> Iterator[_Offer]:
    if need.role == "tokenizer":
        if (lender.path / need.slot).is_dir():
            yield _Offer(lender, lender.path / need.slot, 0, in_folder=True)
    elif need.slot in lender.components and _wide_enough(need, lender.widths.get(need.slot)):
        share = lender.components[need.slot] / max(lender.weights_bytes, 1)
        yield _Offer(lender, lender.path / need.slot, round(lender.parameters * share), in_folder=True)


def _wide_enough(need: Need, width: int | None) -> bool:
    return need.width is None or width == need.width


def _rank(offer: _Offer, record: ModelRecord) -> tuple[bool, bool, bool, bool, bool, int, str]:
    """The smallest is taken."""
    lender = offer.record
    return (
        lender.root != record.root,
        lender.builtin,
        not offer.in_folder,
        len(lender.fits) > 1,
        lender.dtype.startswith("float8"),
        -_steps_in_common(lender.path, record.path),
        lender.id,
    )


def _steps_in_common(one: Path, other: Path) -> int:
    return len(Path(os.path.commonpath([one.absolute(), other.absolute()])).parts)


def _is_called(offer: _Offer, name: str) -> bool:
    return name in (offer.record.id, offer.record.id.rpartition("/")[2])


# ── what is wrong ─────────────────────────────────────────────────────────────────────────────────────────


def _unknown_slots(record: ModelRecord) -> str | None:
    slots = [need.slot for need in record.needs]
    for slot in record.named_parts:
        if slot not in slots:
            return f"its sidecar's image.parts names {slot!r}; it can name {', '.join(slots)}"
    return None


def _bad_name(need: Need, name: str, lenders: Iterable[ModelRecord]) -> str:
    what = TITLES.get(need.role, f"a {need.role}")
    if any(name in (one.id, one.id.rpartition("/")[2]) for one in lenders):
        return f"its sidecar names {name[:120]!r} as its {need.slot}, but that is not {what} that fits"
    return (
        f"its sidecar names {name[:120]!r} as its {need.slot}, and there is no such model\n"
        "hint: write the id that `inglenook models` shows"
    )


def _lacking(missing: Sequence[Need]) -> str:
    wanted = [_wanted(need) for need in missing]
    listed = wanted[0] if len(wanted) == 1 else f"{', '.join(wanted[:-1])} and {wanted[-1]}"
    files = ", ".join(_EXAMPLES[need.role] for need in missing if need.role in _EXAMPLES)
    return (
        f"the file holds the transformer alone; it needs {listed}, and no model folder has one that fits\n"
        f"hint: put them beside it or into another model folder, in any sub-folder: {files}; "
        "or a complete diffusers folder of the same family"
    )


def _wanted(need: Need) -> str:
    title = TITLES.get(need.role, f"a {need.role}")
    if need.width is None:
        return title
    unit = "latent channels" if need.role.startswith("vae") else "columns"
    return f"{title} ({need.width} {unit})"
