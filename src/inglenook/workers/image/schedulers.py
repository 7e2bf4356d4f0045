# SPDX-License-Identifier: Apache-2.0
"""Schedulers by name, over the model's own noise schedule.

What belongs to the model is carried over from its own scheduler: what it predicts, its betas, its flow
flags. What belongs to the method is set here. A method that cannot do what a model predicts is refused,
never replaced.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import diffusers
import torch
from diffusers import SchedulerMixin

from inglenook.workers.image.errors import DrawInvalid, LoadUnsupported

FLOW = "flow_prediction"


class Scheduler(Protocol):
    """What the loop uses of a scheduler of diffusers. It has state: one picture, one scheduler."""

    order: int
    timesteps: torch.Tensor
    init_noise_sigma: Any
    config: Mapping[str, Any]

    def set_timesteps(self, num_inference_steps: int, *, device: torch.device) -> None: ...

    def step(
        self, model_output: torch.Tensor, timestep: torch.Tensor, sample: torch.Tensor, **options: Any
    ) -> Any: ...


@dataclass(frozen=True)
class Recipe:
    """Attributes:
    class_name: in diffusers.
    settings: what makes the method; set whatever the model says.
    unless_said: what a latent model needs when its own files do not say; the class's defaults are for
        models of pixels (clipping to [-1, 1] would ruin latents).
    """

    class_name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    unless_said: Mapping[str, Any] = field(default_factory=dict)


_PLAIN = {"use_karras_sigmas": False}
_KARRAS = {"use_karras_sigmas": True}
_DPM = {"algorithm_type": "dpmsolver++"}
_SDE = {"algorithm_type": "sde-dpmsolver++"}

RECIPES: Mapping[str, Recipe] = {
    "euler": Recipe("EulerDiscreteScheduler", _PLAIN),
    "euler_a": Recipe("EulerAncestralDiscreteScheduler"),
    "heun": Recipe("HeunDiscreteScheduler", _PLAIN, {"clip_sample": False}),
    "ddim": Recipe("DDIMScheduler", {}, {"clip_sample": False, "set_alpha_to_one": False}),
    "pndm": Recipe("PNDMScheduler", {}, {"skip_prk_steps": True}),
    "lms": Recipe("LMSDiscreteScheduler", _PLAIN),
    "unipc": Recipe("UniPCMultistepScheduler", _PLAIN),
    "dpm++_2m": Recipe("DPMSolverMultistepScheduler", {**_DPM, **_PLAIN}),
    "dpm++_2m_karras": Recipe("DPMSolverMultistepScheduler", {**_DPM, **_KARRAS}),
    "dpm++_sde": Recipe("DPMSolverSinglestepScheduler", {**_SDE, **_PLAIN}),
    "dpm++_sde_karras": Recipe("DPMSolverSinglestepScheduler", {**_SDE, **_KARRAS}),
}


class SchedulerFactory:
    """Makes schedulers for one model.

    Args:
        config: the model's own `scheduler_config.json`.

    Raises `LoadUnsupported` when it names a scheduler that this version of diffusers does not have.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._own = scheduler_class(str(config.get("_class_name", "")))
        self._config = {key: value for key, value in config.items() if not key.startswith("_")}
        self.flow = self._config.get("prediction_type") == FLOW
        self._own.from_config(
            self._config
        )  # a config that it cannot take is found at load, not at the first Draw

    def make(self, name: str | None) -> Scheduler:
        """A fresh scheduler; None is the model's own. Raises `DrawInvalid` when the model cannot use it."""
        if name is None:
            return self._own.from_config(self._config)
        if name not in self.usable():
            raise DrawInvalid(
                f"This model predicts a flow, which the scheduler {name!r} cannot follow."
                if name in RECIPES
                else f"There is no scheduler {name!r}.",
                hint=f"choose one of {', '.join(self.usable())}, or none for the model's own",
                field="scheduler",
            )
        recipe = RECIPES[name]
        settings = {**recipe.unless_said, **self._config, **recipe.settings}
        return scheduler_class(recipe.class_name).from_config(settings)

    def usable(self) -> list[str]:
        """The names that this model can be drawn with."""
        return [name for name, recipe in RECIPES.items() if not self.flow or _follows_flow(recipe)]


def _follows_flow(recipe: Recipe) -> bool:
    """Karras' noise levels and flow levels exclude each other: both say where the steps lie."""
    if recipe.settings.get("use_karras_sigmas"):
        return False
    parameters = inspect.signature(scheduler_class(recipe.class_name).__init__).parameters
    return "use_flow_sigmas" in parameters


def scheduler_class(name: str) -> Any:
    found = getattr(diffusers, name, None) if name.isidentifier() else None
    if not (isinstance(found, type) and issubclass(found, SchedulerMixin)):
        raise LoadUnsupported(
            f"The model's scheduler {name!r} is not one that diffusers {diffusers.__version__} has."
        )
    return found
