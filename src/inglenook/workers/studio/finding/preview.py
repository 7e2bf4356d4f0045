# SPDX-License-Identifier: Apache-2.0
"""The handler of `PreviewAugmentations`: real pictures, drawn from as the run will draw."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from inglenook.wire.studio.finding import (
    AugmentationsPreviewed,
    AugmentedPicture,
    PreviewAugmentations,
)
from inglenook.wire.studio.spec import Step
from inglenook.workers.studio.context import Context
from inglenook.workers.studio.data.dataset import Examples, Unread
from inglenook.workers.studio.data.sampling import Key
from inglenook.workers.studio.data.transforms import Pipeline
from inglenook.workers.studio.errors import NoData, Stopped
from inglenook.workers.studio.training.preparing import Data, prepare_data


def preview(work: PreviewAugmentations, context: Context) -> AugmentationsPreviewed:
    """Raises `NoData` when an id is not in the training part, besides what `prepare_data` raises."""
    data = prepare_data(work, context)
    train = _shown(data, data.train_pipeline)
    val = _shown(data, data.val_pipeline)
    pictures, notes = [], list(data.notes)
    if work.spec.hyperparameters.mixup or work.spec.hyperparameters.cutmix:
        notes.append("Mixup and cutmix are not shown: they mix the pictures of a batch.")
    for number, index in enumerate(_chosen(data, work)):
        if context.should_stop():
            raise Stopped("Stopped on request.")
        keys = [Key(epoch, index) for epoch in range(1, work.epochs + 1)]
        shown = [val[Key(0, index)], *(train[key] for key in keys)]
        unread = next((one for one in shown if isinstance(one, Unread)), None)
        if unread is not None:
            notes.append(f"{data.manifest.train[index].id} cannot be read: {unread.why}")
            continue
        steps = [work.spec.augmentations.val, *[work.spec.augmentations.train] * work.epochs]
        names = [f"preview-{work.job}-{number}-{place}.png" for place in range(len(shown))]
        for name, one, given in zip(names, shown, steps, strict=True):
            assert not isinstance(one, Unread)
            _write(context.spool / name, _seen(one.pixels, given or data.val_pipeline.steps))
        pictures.append(
            AugmentedPicture(id=data.manifest.train[index].id, val=names[0], epochs=tuple(names[1:]))
        )
    return AugmentationsPreviewed(job=work.job, pictures=tuple(pictures), notes=tuple(notes))


def _shown(data: Data, pipeline: Pipeline) -> Examples:
    return Examples(
        data.manifest.train,
        transform=pipeline,
        target=data.task.target,
        seed=data.spec.hyperparameters.seed,
    )


def _chosen(data: Data, work: PreviewAugmentations) -> list[int]:
    if not work.examples:
        return list(range(min(work.pictures, len(data.manifest.train))))
    places = {example.id: index for index, example in enumerate(data.manifest.train)}
    unknown = [name for name in work.examples if name not in places]
    if unknown:
        raise NoData(f"The training part has no picture {unknown[0]!r}.")
    return [places[name] for name in work.examples[: work.pictures]]


def _seen(pixels: torch.Tensor, steps: tuple[Step, ...]) -> np.ndarray:
    """uint8 (height, width, 3): the normalisations taken back, the last one first."""
    for step in reversed(steps):
        if step.name == "Normalize":
            mean, std = (torch.tensor(step.params[name])[:, None, None] for name in ("mean", "std"))
            pixels = pixels * std + mean
    return (pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def _write(path: Path, pixels: np.ndarray) -> None:
    """Whole or not at all."""
    unfinished = path.with_name(f".{path.name}.part")
    Image.fromarray(pixels).save(unfinished, "PNG")
    unfinished.replace(path)
