# SPDX-License-Identifier: Apache-2.0
"""A chat about a picture → `ImageRequest`."""

from collections.abc import Sequence
from dataclasses import dataclass

from inglenook.api.alice.fields import RANDOM_SEED, SamConfig
from inglenook.base.ids import BlobId
from inglenook.catalog.model import ModelRecord
from inglenook.images.model import ImageRequest, LoraChoice, Mode


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and what of it has no effect, in words."""

    request: ImageRequest
    notes: tuple[str, ...]


def asked_for(
    config: SamConfig,
    model: ModelRecord,
    *,
    prompt: str,
    loras: Sequence[ModelRecord],
    pictures: Sequence[BlobId],
) -> Asked:
    """Args:
    prompt: with its tags.
    loras: those of `config.lora_paths`, in order; one without a scale counts 1.
    pictures: kept input pictures.
    """
    notes = []
    if config.strength is not None and not pictures:
        notes.append("strength has no effect without an input picture.")
    scales = (*config.lora_scales, *(1.0 for _ in loras))
    width, height = _size(config, model)
    request = ImageRequest(
        model=model.id,
        prompt=prompt,
        negative_prompt=config.negative_prompt,
        mode=Mode.IMAGE if pictures else Mode.TEXT,
        width=width,
        height=height,
        steps=config.steps,
        guidance_scale=config.guidance_scale,
        seed=None if config.seed == RANDOM_SEED else config.seed,
        n=config.num_images,
        scheduler=config.scheduler,
        strength=config.strength if pictures else None,
        image=pictures[0] if pictures else None,
        more_images=tuple(pictures[1:]),
        loras=tuple(LoraChoice(lora.id, scale) for lora, scale in zip(loras, scales, strict=False)),
    )
    return Asked(request, tuple(notes))


def _size(config: SamConfig, model: ModelRecord) -> tuple[int | None, int | None]:
    """One side alone goes with the model's own other side, as ALICE does it."""
    width, height = config.width, config.height
    if model.image is not None and (width is None) != (height is None):
        width = model.image.width if width is None else width
        height = model.image.height if height is None else height
    return width, height
