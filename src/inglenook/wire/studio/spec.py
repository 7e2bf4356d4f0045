# SPDX-License-Identifier: Apache-2.0
"""How a model is trained: every field of the form, with its range. Read by the server and by the worker.

Names and ranges are AI Studio's where it has the field, so its documents can be read as they are.
"""

from typing import Annotated, Any, Literal

import msgspec

Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0.0)]
Count = Annotated[int, msgspec.Meta(ge=0)]

Device = Annotated[str, msgspec.Meta(pattern=r"^(auto|cpu|gpu|cuda|mps|(gpu|cuda):[0-9]{1,2})$")]
Precision = Literal["32", "16-mixed", "bf16-mixed"]


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base: unknown fields are errors that name the field."""


class ModelSpec(Spec, frozen=True, kw_only=True):
    """The network.

    Attributes:
        backbone: a name of the task's list (`resnet18`, `convnext_tiny`, `vit_small_patch16_224` …).
        head: the task's name for its head.
        pretrained: begin with weights that somebody has trained. True: they must be found (`weights`), or
            nothing begins. `auto`: where they are at hand, else with random ones, and it is said which; a
            backbone that was to be frozen learns then: there is nothing in it to keep. False: random ones.
        weights: where from: `auto` (a file in the models folder, then a package, then the hub unless
            offline),
            `hub`, `package`, or a path below the models folder.
        freeze_backbone: only the head learns, batch-norm statistics stand still.
        unfreeze_epoch: from this epoch on (counted from 1) the backbone learns too; None: never.
        backbone_lr_scale: the backbone's learning rate is this share of the head's.
        dropout: before the last layer.
    """

    backbone: str = "resnet18"
    head: str = "classification"
    pretrained: bool | Literal["auto"] = "auto"
    weights: str = "auto"
    freeze_backbone: bool = False
    unfreeze_epoch: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    backbone_lr_scale: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 1.0
    dropout: Annotated[float, msgspec.Meta(ge=0.0, le=0.9)] = 0.2


class Hyperparameters(Spec, frozen=True, kw_only=True):
    """How it learns.

    Attributes:
        scheduler: how the learning rate falls, epoch by epoch, after the warm-up and until the last epoch.
        warmup_epochs: the rate rises linearly from a tenth to its full value over these.
        step_size, milestones, gamma, poly_power: of `step`, `multistep`, both, `poly`.
        batch_multiplier: gradients of so many batches are added up before a step.
        early_stopping_patience: epochs without a better monitored metric before it ends; 0: never.
        focal_gamma: of the focal loss. class_weights: `balanced` weighs each class by the inverse of its
            share.
        dropout: kept for AI Studio's documents, where it overwrites the model's; None leaves that.
        sampling: `balanced` draws each class equally often.
        mixup, cutmix: the alpha of their Beta distribution, 0 for off; with both, one of them at random a
            batch.
        ema_decay: weights are averaged with this decay and the average is validated and kept; 0 for off.
        gradient_clip: largest norm of the gradient, 0 for none.
        seed: of everything that is drawn at random. deterministic: only operations that always give the
            same result.
    """

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Positive = 0.001
    weight_decay: NotNegative = 0.0001
    momentum: Probability = 0.9
    scheduler: Literal["cosine", "step", "multistep", "poly", "none"] = "cosine"
    warmup_epochs: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 5
    step_size: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    milestones: tuple[Annotated[int, msgspec.Meta(ge=1)], ...] = ()
    gamma: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] = 0.1
    poly_power: Positive = 0.9
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=256)] = 32
    batch_multiplier: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    max_epochs: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    early_stopping_patience: Annotated[int, msgspec.Meta(ge=0, le=100)] = 10
    loss: Literal["cross_entropy", "focal", "label_smoothing_cross_entropy", "default"] = "cross_entropy"
    label_smoothing: Annotated[float, msgspec.Meta(ge=0.0, le=0.5)] = 0.0
    focal_gamma: Annotated[float, msgspec.Meta(ge=0.0, le=10.0)] = 2.0
    class_weights: Literal["none", "balanced"] = "none"
    dropout: Annotated[float, msgspec.Meta(ge=0.0, le=0.9)] | None = None
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    mixup: Annotated[float, msgspec.Meta(ge=0.0, le=10.0)] = 0.0
    cutmix: Annotated[float, msgspec.Meta(ge=0.0, le=10.0)] = 0.0
    ema_decay: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.0
    gradient_clip: NotNegative = 0.0
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 42
    deterministic: bool = False


class Step(Spec, frozen=True, kw_only=True):
    """One transform of torchvision's v2 by its name, and its parameters. `apply_p` in `params`, in [0, 1],
    makes it happen only
    so often."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    params: dict[str, Any] = msgspec.field(default_factory=dict)


class Augmentations(Spec, frozen=True, kw_only=True):
    """What happens to a picture, in this order: while it trains, and whenever it is looked at (`val`)."""

    train: tuple[Step, ...] = ()
    val: tuple[Step, ...] = ()


class Hardware(Spec, frozen=True, kw_only=True):
    """Where it runs.

    Attributes:
        selected_devices: `auto` leaves the choice to the runtime.
        workers: processes that read pictures beside the training; 0 reads them in it.
    """

    selected_devices: tuple[Device, ...] = ("auto",)
    precision: Precision = "32"
    workers: Annotated[int, msgspec.Meta(ge=0, le=32)] = 0


class TrainSpec(Spec, frozen=True, kw_only=True):
    """A whole configuration, as an experiment keeps it."""

    model: ModelSpec = ModelSpec()
    hyperparameters: Hyperparameters = Hyperparameters()
    augmentations: Augmentations = Augmentations()
    hardware: Hardware = Hardware()


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One picture for the worker: a line of the manifest, which the server writes before a run and which does
    not change while it lasts.

    Attributes:
        id: of the picture in its data set. file: where it lies; only read.
        subset: `train`, `val` or `test`.
        target: what the task learns from it; for classification the class's number.
    """

    id: str
    file: str
    subset: Literal["train", "val", "test"]
    target: Any
