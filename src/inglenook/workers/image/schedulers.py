# SPDX-License-Identifier: Apache-2.0
"""Schedulers by name, over the model's own noise schedule.

What belongs to the model is carried over from its own scheduler: what it predicts, its betas, its flow and
how far that is shifted. What belongs to the method is set here. A method that cannot do what a model predicts
is refused, and so is a sigma schedule that the method cannot be asked at; neither is ever replaced.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import diffusers
import torch
from diffusers import SchedulerMixin

from inglenook.wire.schedulers import SIGMAS
from inglenook.workers.image.errors import DrawInvalid, LoadUnsupported

FLOW = "flow_prediction"


class Scheduler(Protocol):
    """What the loop uses of a scheduler of diffusers. It has state: one picture, one scheduler."""

    order: int
    timesteps: torch.Tensor
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


_LEVELS: Mapping[str, str] = {
    "karras": "use_karras_sigmas",
    "exponential": "use_exponential_sigmas",
    "beta": "use_beta_sigmas",
}
_PLAIN: Mapping[str, Any] = {**dict.fromkeys(_LEVELS.values(), False), "use_lu_lambdas": False}
_KARRAS = {**_PLAIN, "use_karras_sigmas": True}
_DPM = {"algorithm_type": "dpmsolver++", "solver_order": 2}
_SDE = {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}

RECIPES: Mapping[str, Recipe] = {
    "euler": Recipe("EulerDiscreteScheduler", _PLAIN),
    "euler_a": Recipe("EulerAncestralDiscreteScheduler"),
    "heun": Recipe("HeunDiscreteScheduler", _PLAIN, {"clip_sample": False}),
    "dpm2": Recipe("KDPM2DiscreteScheduler", _PLAIN),
    "dpm2_a": Recipe("KDPM2AncestralDiscreteScheduler", _PLAIN),
    "ddim": Recipe("DDIMScheduler", {}, {"clip_sample": False, "set_alpha_to_one": False}),
    "pndm": Recipe("PNDMScheduler", {}, {"skip_prk_steps": True}),
    "lms": Recipe("LMSDiscreteScheduler", _PLAIN),
    "lcm": Recipe("LCMScheduler", {}, {"clip_sample": False}),
    "unipc": Recipe("UniPCMultistepScheduler", _PLAIN),
    "dpm++_2m": Recipe("DPMSolverMultistepScheduler", {**_DPM, **_PLAIN}),
    "dpm++_2m_karras": Recipe("DPMSolverMultistepScheduler", {**_DPM, **_KARRAS}),
    "dpm++_2m_sde": Recipe("DPMSolverMultistepScheduler", {**_SDE, **_PLAIN}),
    "dpm++_3m": Recipe("DPMSolverMultistepScheduler", {**_DPM, **_PLAIN, "solver_order": 3}),
    "dpm++_sde": Recipe("DPMSolverSinglestepScheduler", {**_SDE, **_PLAIN}),
    "dpm++_sde_karras": Recipe("DPMSolverSinglestepScheduler", {**_SDE, **_KARRAS}),
}
"""For a model that predicts noise, a velocity or the picture."""

_ALONG = {"prediction_type": FLOW, "use_flow_sigmas": True}

FLOW_RECIPES: Mapping[str, Recipe] = {
    "euler": Recipe("FlowMatchEulerDiscreteScheduler", _PLAIN),
    "heun": Recipe("FlowMatchHeunDiscreteScheduler"),
    "lcm": Recipe("FlowMatchLCMScheduler", _PLAIN),
    "unipc": Recipe("UniPCMultistepScheduler", {**_PLAIN, **_ALONG}),
    "dpm++_2m": Recipe("DPMSolverMultistepScheduler", {**_DPM, **_PLAIN, **_ALONG}),
    "dpm++_2m_sde": Recipe("DPMSolverMultistepScheduler", {**_SDE, **_PLAIN, **_ALONG}),
    "dpm++_3m": Recipe("DPMSolverMultistepScheduler", {**_DPM, **_PLAIN, **_ALONG, "solver_order": 3}),
    "dpm++_sde": Recipe("DPMSolverSinglestepScheduler", {**_SDE, **_PLAIN, **_ALONG}),
    "flow_match_euler": Recipe("FlowMatchEulerDiscreteScheduler", _PLAIN),
}
"""For a model that predicts a flow."""


class SchedulerFactory:
    """Makes schedulers for one model.

    Args:
        config: the model's own `scheduler_config.json`.

    Attributes:
        flow: whether the model predicts a flow.

    Raises `LoadUnsupported` when it names a scheduler that this version of diffusers does not have.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._own = scheduler_class(str(config.get("_class_name", "")))
        self._config = {key: value for key, value in config.items() if not key.startswith("_")}
        self.flow = self._config.get("prediction_type") == FLOW or self._own.__name__.startswith("FlowMatch")
        # a config that the class cannot take is found at load, not at the first Draw
        self._own.from_config(self._config)

    def make(self, name: str | None, sigmas: str | None = None) -> Scheduler:
        """A fresh scheduler; None is the model's own, with its own noise levels.

        Args:
            sigmas: a sigma schedule; None leaves the scheduler's.

        Raises:
            DrawInvalid: the model cannot be drawn with it, or it has not that sigma schedule.
        """
        if name is None:
            made, settings = self._own, dict(self._config)
        else:
            recipe = self._recipe(name)
            made = scheduler_class(recipe.class_name)
            settings = {**recipe.unless_said, **self._config, **_shifted(self._config), **recipe.settings}
        if sigmas is not None:
            takes = self.sigmas_of(name)
            if sigmas not in takes:
                raise _no_such_levels(name or made.__name__, sigmas, takes, flow=self.flow)
            settings |= _at_levels(sigmas)
        return made.from_config(settings)

    def usable(self) -> list[str]:
        """The names that this model can be drawn with."""
        return list(FLOW_RECIPES if self.flow else RECIPES)

    def sigmas_of(self, name: str | None) -> tuple[str, ...]:
        """The sigma schedules that the scheduler can be asked at; None is the model's own.

        Raises:
            DrawInvalid: the model cannot be drawn with it.
        """
        if name is None:
            return levels_of(self._own, flow=self.flow)
        recipe = self._recipe(name)
        if recipe.settings.get("use_karras_sigmas"):
            return ("karras",)
        return levels_of(scheduler_class(recipe.class_name), flow=self.flow)

    def _recipe(self, name: str) -> Recipe:
        recipes = FLOW_RECIPES if self.flow else RECIPES
        if name in recipes:
            return recipes[name]
        if name in RECIPES:
            why = f"This model predicts a flow, which the scheduler {name!r} cannot follow."
        elif name in FLOW_RECIPES:
            why = f"The scheduler {name!r} follows a flow, which this model does not predict."
        else:
            why = f"There is no scheduler {name!r}."
        raise DrawInvalid(
            why,
            hint=f"choose one of {', '.join(self.usable())}, or none for the model's own",
            field="scheduler",
        )


def levels_of(scheduler: Any, *, flow: bool) -> tuple[str, ...]:
    """The sigma schedules that a class of diffusers has, in the order of the wire's list.

    Where a class serves both, asking at Karras' levels and following a flow exclude each other: the levels
    would be those of added noise, up to 14 and more, where a flow ends at 1. Only UniPC converts them.
    `timestep_spacing` says nothing along a flow, and LCMScheduler takes it without reading it.
    """
    parameters = inspect.signature(scheduler.__init__).parameters
    found = {name for name, flag in _LEVELS.items() if flag in parameters}
    if flow and "use_flow_sigmas" in parameters:
        found &= {"karras"} if scheduler.__name__ == "UniPCMultistepScheduler" else set()
    if not flow and "timestep_spacing" in parameters and scheduler.__name__ != "LCMScheduler":
        found.add("sgm_uniform")
    return tuple(name for name in SIGMAS if name in found)


def check_steps(scheduler: Scheduler, steps: int) -> None:
    """Raises `DrawInvalid` when a full run may not have so many steps: a consistency model was distilled on a
    number of noise levels, and can be asked at no others."""
    most = scheduler.config.get("original_inference_steps")
    if type(scheduler).__name__ == "LCMScheduler" and most is not None and steps > most:
        raise DrawInvalid(
            f"steps is {steps}; the scheduler lcm takes at most {most} of this model.",
            hint="two to eight are usual for it",
            field="steps",
        )


def scheduler_class(name: str) -> Any:
    found = getattr(diffusers, name, None) if name.isidentifier() else None
    if not (isinstance(found, type) and issubclass(found, SchedulerMixin)):
        raise LoadUnsupported(
            f"The model's scheduler {name!r} is not one that diffusers {diffusers.__version__} has."
        )
    return found


def _shifted(config: Mapping[str, Any]) -> dict[str, Any]:
    """How far the flow is shifted towards the noise, under both names that diffusers has for it."""
    shift = config.get("shift", config.get("flow_shift"))
    return {} if shift is None else {"shift": shift, "flow_shift": shift}


def _at_levels(sigmas: str) -> dict[str, Any]:
    if sigmas == "sgm_uniform":
        return {**_PLAIN, "timestep_spacing": "trailing"}
    return {**_PLAIN, _LEVELS[sigmas]: True}


def _no_such_levels(scheduler: str, sigmas: str, takes: tuple[str, ...], *, flow: bool) -> DrawInvalid:
    if sigmas not in SIGMAS:
        return DrawInvalid(
            f"There is no sigma schedule {sigmas!r}.",
            hint=f"choose one of {', '.join(SIGMAS)}",
            field="sigmas",
        )
    along = " along a flow" if flow else ""
    return DrawInvalid(
        f"The scheduler {scheduler!r} has no sigma schedule {sigmas!r}{along}.",
        hint=f"choose one of {', '.join(takes)}, or none for its own" if takes else "name none",
        field="sigmas",
    )
