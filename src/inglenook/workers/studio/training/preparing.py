# SPDX-License-Identifier: Apache-2.0
"""The parts of a run from its spec, each checked before anything is trained. The finders use them too."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from torch import nn

from inglenook.wire.studio.backbones import BackboneFacts
from inglenook.wire.studio.spec import Example, TrainSpec
from inglenook.workers.studio.context import Context
from inglenook.workers.studio.data.dataset import Collate, Examples
from inglenook.workers.studio.data.loading import Batches
from inglenook.workers.studio.data.manifest import Manifest, read_manifest
from inglenook.workers.studio.data.pictures import UNREADABLE, read_picture
from inglenook.workers.studio.data.sampling import Key, batched, order
from inglenook.workers.studio.data.transforms import Pipeline, default_steps
from inglenook.workers.studio.errors import BadAugmentation, NoData
from inglenook.workers.studio.networks.backbones import build_backbone, facts_of
from inglenook.workers.studio.networks.weights import Origin, load_first_weights
from inglenook.workers.studio.tasks.model import Network, StudioTask
from inglenook.workers.studio.tasks.registry import task_of


class Work(Protocol):
    """What `Train` and the finders have in common."""

    @property
    def job(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def spec(self) -> TrainSpec: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def manifest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Data:
    """Attributes:
    train, val: batches of a part; `val` is None where there is nothing to validate on.
    side_px: height and width of what the network sees.
    notes: what a person should know.
    """

    manifest: Manifest
    task: StudioTask
    spec: TrainSpec
    facts: BackboneFacts
    train_pipeline: Pipeline
    val_pipeline: Pipeline
    train: Batches
    val: Batches | None
    side_px: tuple[int, int]
    notes: tuple[str, ...]
    all_learns: bool = False

    def plan(self, epoch: int) -> list[list[Key]]:
        """The training batches of an epoch."""
        chosen = self.spec.hyperparameters
        labels = self.task.labels(self.manifest.train) if chosen.sampling == "balanced" else None
        keys = order(
            labels, len(self.manifest.train), seed=chosen.seed, epoch=epoch, sampling=chosen.sampling
        )
        return batched(keys, chosen.batch_size)

    def val_plan(self) -> list[list[Key]]:
        """Always the same, in the manifest's order; what a step of the pipeline draws is the same each
        time."""
        keys = [Key(0, index) for index in range(len(self.manifest.val))]
        size = self.spec.hyperparameters.batch_size
        return [keys[start : start + size] for start in range(0, len(keys), size)]


def prepare_data(work: Work, context: Context) -> Data:
    """Raises `NoData`, `UnknownTask`, `UnknownModel`, `BadAugmentation`."""
    spec = work.spec
    manifest = read_manifest(Path(work.manifest))
    task = task_of(work.task, work.classes)
    for part in (manifest.train, manifest.val):
        task.check(part)
    facts = facts_of(spec.model.backbone)
    train_pipeline, val_pipeline, notes = _pipelines(spec, facts)
    side_px = _try(train_pipeline, val_pipeline, manifest.train)
    pin = context.device.torch.type == "cuda"

    def batches(examples: Sequence[Example], pipeline: Pipeline) -> Batches:
        shown = Examples(examples, transform=pipeline, target=task.target, seed=spec.hyperparameters.seed)
        return Batches(shown, Collate(task.stack), workers=spec.hardware.workers, pin=pin)

    return Data(
        manifest=manifest,
        task=task,
        spec=spec,
        facts=facts,
        train_pipeline=train_pipeline,
        val_pipeline=val_pipeline,
        train=batches(manifest.train, train_pipeline),
        val=batches(manifest.val, val_pipeline) if manifest.val else None,
        side_px=side_px,
        notes=notes,
    )


@dataclass(frozen=True, slots=True)
class Built:
    network: Network
    loss: nn.Module
    mixer: nn.Module | None
    origin: Origin


def build(data: Data, context: Context, *, first_weights: bool = True) -> Built:
    """On the host, from the seed. `first_weights`: False where a checkpoint replaces them at once. Raises
    `NoWeights`."""
    spec, task = data.spec, data.task
    torch.manual_seed(spec.hyperparameters.seed)
    backbone = build_backbone(data.facts, data.side_px)
    network = task.network(backbone, data.facts.features, spec)
    origin = Origin("checkpoint", spec.model.pretrained is not False)
    if first_weights:
        origin = load_first_weights(backbone, data.facts, spec.model, models=context.models)
    return Built(network, task.loss(spec, data.manifest.train), task.mixer(spec), origin)


def settled(data: Data, origin: Origin) -> Data:
    """Nothing of a backbone is frozen that would have been trained if weights had been at hand."""
    missing = data.spec.model.pretrained == "auto" and not origin.pretrained
    return replace(data, all_learns=True) if missing else data


def _pipelines(spec: TrainSpec, facts: BackboneFacts) -> tuple[Pipeline, Pipeline, tuple[str, ...]]:
    notes = []
    val = spec.augmentations.val
    if not val:
        val = default_steps(facts)
        notes.append(
            f"No val pipeline was given: pictures are resized to {facts.input_px} x {facts.input_px}."
        )
    train = spec.augmentations.train
    if not train:
        train = val
        notes.append("No train pipeline was given: nothing is augmented.")
    return Pipeline(train, "train"), Pipeline(val, "val"), tuple(notes)


def _try(train: Pipeline, val: Pipeline, examples: Sequence[Example]) -> tuple[int, int]:
    """Both pipelines on the first picture that can be read, and on one of another shape; height and width
    of what comes out. Raises `BadAugmentation`, `NoData`."""
    picture = _first_readable(examples)
    other = picture.resize((2 * picture.width, picture.height))  # no side is smaller, so what is cropped fits
    sides = {}
    for pipeline in (train, val):
        channels, *first = pipeline.tried(picture).shape
        second = pipeline.tried(other).shape[1:]
        if list(second) != first:
            raise BadAugmentation(
                f"The {pipeline.part} pipeline gives pictures of different sizes ({first[1]} x {first[0]} and"
                f" {second[1]} x {second[0]}), which do not fit into one batch.",
                hint="give Resize both sides, e.g. [224, 224], or crop after it",
            )
        if channels != 3:
            raise BadAugmentation(f"The {pipeline.part} pipeline gives {channels} channels; networks take 3.")
        sides[pipeline.part] = (first[0], first[1])
    if sides["train"] != sides["val"]:
        (height, width), (other_height, other_width) = sides["train"], sides["val"]
        raise BadAugmentation(
            f"The train pipeline ends in {width} x {height} pixels and the val pipeline in {other_width} x"
            f" {other_height}.",
            hint="let both end in the same size",
        )
    return sides["val"]


def _first_readable(examples: Sequence[Example]) -> Image.Image:
    why = ""
    for example in examples[:20]:
        try:
            return read_picture(example.file)
        except UNREADABLE as error:
            why = why or f"{example.id}: {error}"
    raise NoData(
        f"None of the first {min(20, len(examples))} pictures of the training part can be read ({why})."
    )
