# SPDX-License-Identifier: Apache-2.0
"""Everything that a run goes on from, as plain tensors and primitives."""

from dataclasses import asdict
from typing import Any

import msgspec
import torch

from inglenook.wire.studio.spec import TrainSpec
from inglenook.wire.studio.training import Train
from inglenook.workers.studio.device import StudioDevice
from inglenook.workers.studio.errors import BadCheckpoint
from inglenook.workers.studio.training.learner import Learner
from inglenook.workers.studio.training.progress import Progress


def describe(work: Train, learner: Learner, *, values: dict[str, float]) -> dict[str, Any]:
    """What is in every checkpoint: the network that is to be used, and what is needed to use it.

    `network`: its values, averaged where the spec says so. `spec`: as JSON. `preprocessing`: the steps of
    the val pipeline, as JSON. `input`: channels, height, width. `batch` batches of `epoch` are learned from.
    """
    data, progress = learner.data, learner.progress
    done_in_it = progress.batch > 0 or progress.epoch == 1
    monitor = f"val_{data.task.monitor}"
    network = learner.network.state_dict()
    if learner.average is not None:
        with learner.averaged():
            network = {key: value.clone() for key, value in learner.network.state_dict().items()}
    return {
        "task": work.task,
        "classes": list(work.classes),
        "class_count": len(work.classes),
        "backbone": data.facts.name,
        "spec": msgspec.json.encode(data.spec).decode(),
        "preprocessing": msgspec.json.encode(learner.preprocessing).decode(),
        "input": [3, *data.side_px],
        "network": network,
        "epoch": progress.epoch if done_in_it else progress.epoch - 1,
        "batch": progress.batch if done_in_it else learner.batches,
        "batches": learner.batches,
        "monitor": monitor if values.get(monitor) is not None else None,
        "value": values.get(monitor),
        "values": dict(values),
        "weights": learner.origin.said,
        "pretrained": learner.origin.pretrained,
        "examples": data.manifest.digest,
        "lineage": dict(work.lineage),
    }


def capture(learner: Learner, device: StudioDevice) -> dict[str, Any]:
    """What only `last.ckpt` has: all that the next step depends on."""
    optimizer = learner.optimizer
    assert optimizer is not None
    gradients = [parameter.grad for parameter in learner.network.parameters()]
    scaler = learner.scaler
    average = learner.average
    return {
        "progress": asdict(learner.progress),
        "own": learner.network.state_dict() if average is not None else None,
        "average": None if average is None else {"steps": average.steps, "means": average.state_dict()},
        "optimizer": optimizer.state_dict(),
        "gradients": gradients if any(gradient is not None for gradient in gradients) else None,
        "scaler": None if scaler is None else scaler.state_dict(),
        "sums": learner.sums.state_dict(),
        "generators": {"cpu": torch.get_rng_state(), "device": _device_generator(device)},
    }


def restore(learner: Learner, content: dict[str, Any], device: StudioDevice) -> None:
    """On the device, when the optimizer is made. The opposite of `capture`."""
    kept = content["training"]
    optimizer = learner.optimizer
    assert optimizer is not None
    try:
        learner.network.load_state_dict(kept["own"] or content["network"])
        if learner.average is not None:
            learner.average.steps = kept["average"]["steps"]
            learner.average.load_state_dict(kept["average"]["means"])
        optimizer.load_state_dict(kept["optimizer"])
        learner.sums.load_state_dict(kept["sums"])
        learner.sums.to(device.torch)  # torchmetrics takes counts as they come
        if kept["gradients"] is not None:
            for parameter, gradient in zip(learner.network.parameters(), kept["gradients"], strict=True):
                parameter.grad = None if gradient is None else gradient.to(parameter.device)
        if learner.scaler is not None and kept["scaler"]:
            learner.scaler.load_state_dict(kept["scaler"])
        torch.set_rng_state(kept["generators"]["cpu"])
        _set_device_generator(device, kept["generators"]["device"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BadCheckpoint(f"The checkpoint does not fit this run: {str(error)[:300]}") from error


def check_resumable(content: dict[str, Any], work: Train, digest: str) -> Progress:
    """Where the run goes on. `digest`: of the manifest. Raises `BadCheckpoint` when the checkpoint is of
    another run, or is no `last.ckpt`."""
    if "training" not in content:
        raise BadCheckpoint(
            "This checkpoint holds a network and nothing to go on from.", hint="resume from last.ckpt"
        )
    if content.get("task") != work.task or content.get("classes") != list(work.classes):
        raise BadCheckpoint(
            f"The checkpoint is of {content.get('task')} with {content.get('class_count')} classes; the run"
            f" is {work.task} with {len(work.classes)}, or its classes have other names."
        )
    try:
        spec = msgspec.json.decode(content["spec"], type=TrainSpec)
        progress = Progress(**content["training"]["progress"])
    except (KeyError, TypeError, msgspec.MsgspecError) as error:
        raise BadCheckpoint(f"The checkpoint cannot be read: {error}") from error
    changed = [
        f"{part}.{name}"
        for part in ("model", "hyperparameters", "augmentations")
        for name in getattr(spec, part).__struct_fields__
        if getattr(getattr(spec, part), name) != getattr(getattr(work.spec, part), name)
    ]
    if content.get("examples") != digest:
        changed.append("the pictures")
    if changed:
        raise BadCheckpoint(
            f"The checkpoint was made with another configuration: {', '.join(changed)} changed.",
            hint="resume with the configuration it began with, or begin a new run",
        )
    return progress


def _device_generator(device: StudioDevice) -> torch.Tensor | None:
    match device.torch.type:
        case "cuda":
            return torch.cuda.get_rng_state(device.torch)
        case "mps":
            return torch.mps.get_rng_state()
        case _:
            return None


def _set_device_generator(device: StudioDevice, state: torch.Tensor | None) -> None:
    if state is None:
        return
    match device.torch.type:
        case "cuda":
            torch.cuda.set_rng_state(state, device.torch)
        case "mps":
            torch.mps.set_rng_state(state)
