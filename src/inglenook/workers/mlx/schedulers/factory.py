# SPDX-License-Identifier: Apache-2.0
"""Names, and a model's own configuration, to a method.

What belongs to the model is carried over from its own scheduler: what it predicts, how its noise grows, how
far its flow is shifted. What is not here is refused by name, and never replaced.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from inglenook.wire.mlx import FLOW_SCHEDULERS, SCHEDULERS, SIGMAS
from inglenook.wire.schedulers import MOST_STEPS, takes_sigmas
from inglenook.workers.image.errors import DrawInvalid
from inglenook.workers.mlx.schedulers.methods import Ddim, Dpm, Euler, FlowEuler, Lcm, Method, Pndm
from inglenook.workers.mlx.schedulers.tables import (
    Config,
    curved,
    ratios,
    signals,
    spaced,
    timesteps_at,
    trained,
)

FLOW = "flow_prediction"


@dataclass(frozen=True)
class Recipe:
    """Attributes:
    class_name: as diffusers calls the method.
    settings: what makes it. unless_said: what a latent model needs where its own files do not say.
    """

    class_name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    unless_said: Mapping[str, Any] = field(default_factory=dict)


_PLAIN = {
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "use_lu_lambdas": False,
}
_DPM = {**_PLAIN, "algorithm_type": "dpmsolver++", "solver_order": 2}
_FLOW_DPM = {**_DPM, "use_flow_sigmas": True, "prediction_type": FLOW}

_RECIPES: Mapping[str, Recipe] = {
    "euler": Recipe("EulerDiscreteScheduler", _PLAIN),
    "euler_a": Recipe("EulerAncestralDiscreteScheduler"),
    "ddim": Recipe("DDIMScheduler", {}, {"clip_sample": False, "set_alpha_to_one": False}),
    "pndm": Recipe("PNDMScheduler", {}, {"skip_prk_steps": True}),
    "lcm": Recipe("LCMScheduler", {}, {"clip_sample": False}),
    "dpm++_2m": Recipe("DPMSolverMultistepScheduler", _DPM),
    "dpm++_2m_karras": Recipe("DPMSolverMultistepScheduler", {**_DPM, "use_karras_sigmas": True}),
    "dpm++_2m_sde": Recipe("DPMSolverMultistepScheduler", {**_DPM, "algorithm_type": "sde-dpmsolver++"}),
}
_FLOW_RECIPES: Mapping[str, Recipe] = {
    "euler": Recipe("FlowMatchEulerDiscreteScheduler", _PLAIN),
    "flow_match_euler": Recipe("FlowMatchEulerDiscreteScheduler", _PLAIN),
    "dpm++_2m": Recipe("DPMSolverMultistepScheduler", _FLOW_DPM),
}


class Schedulers:
    """Args:
    config: the model's own `scheduler_config.json`.

    Attributes:
        flow: whether the model predicts a flow.
    """

    def __init__(self, config: Config) -> None:
        self._own = str(config.get("_class_name", ""))
        self._config = {key: value for key, value in config.items() if not key.startswith("_")}
        self.flow = self._config.get("prediction_type") == FLOW or self._own.startswith("FlowMatch")

    def usable(self) -> tuple[str, ...]:
        """The names that this model can be drawn with here."""
        return FLOW_SCHEDULERS if self.flow else SCHEDULERS

    def make(
        self, name: str | None, sigmas: str | None, steps: int, *, strength: float | None = None
    ) -> Method:
        """A fresh method; None is the model's own, with its own noise levels.

        Args:
            sigmas: a sigma schedule; None leaves the scheduler's.
            steps: of a full run, at least 1.
            strength: of a model that takes all of its steps on a given picture; None lays out a full run.

        Raises:
            DrawInvalid: the model cannot be drawn with it here, or so many steps cannot be taken.
        """
        if name is None:
            class_name, settings = self._own, dict(self._config)
        else:
            recipe = self._recipe(name)
            shift = self._config.get("shift", self._config.get("flow_shift"))
            shifted = {} if shift is None else {"shift": shift, "flow_shift": shift}
            class_name = recipe.class_name
            settings = {**recipe.unless_said, **self._config, **shifted, **recipe.settings}
        if sigmas is not None:
            settings |= _at_levels(name, class_name, sigmas, flow=self.flow)
        maker = _MAKERS.get(class_name)
        if maker is None:
            own = (
                f"the model's own scheduler, {class_name}"
                if class_name
                else "a scheduler for this model, which names none"
            )
            raise self._refused(f"The MLX engine does not have {own}.")
        try:
            return maker(settings, steps, strength)
        except ValueError as error:
            raise self._refused(
                f"The MLX engine cannot draw this model by {name or class_name}: {error}."
            ) from error

    def spreads_within(self, name: str | None) -> int | None:
        """Of a scheduler that takes all of its steps on a given picture: how many steps it was distilled on;
        None for all others."""
        class_name = self._own if name is None else _RECIPES.get(name, Recipe("")).class_name
        if class_name != "LCMScheduler":
            return None
        return int(self._config.get("original_inference_steps", MOST_STEPS["lcm"]))

    def _recipe(self, name: str) -> Recipe:
        recipes = _FLOW_RECIPES if self.flow else _RECIPES
        if name not in recipes:
            kind = " for a model that predicts a flow" if self.flow else ""
            raise self._refused(f"The MLX engine has no scheduler {name!r}{kind}.")
        return recipes[name]

    def _refused(self, why: str) -> DrawInvalid:
        return DrawInvalid(
            why,
            hint=f"choose one of {', '.join(self.usable())}, or the model in torch",
            field="scheduler",
        )


def _at_levels(name: str | None, class_name: str, sigmas: str, *, flow: bool) -> dict[str, Any]:
    known = name or next((one for one, recipe in _RECIPES.items() if recipe.class_name == class_name), "")
    if sigmas not in SIGMAS or not takes_sigmas(known, sigmas, flow=flow):
        able = [one for one in SIGMAS if takes_sigmas(known, one, flow=flow)]
        raise DrawInvalid(
            f"The scheduler {name or class_name!r} has no sigma schedule {sigmas!r} in the MLX engine.",
            hint=f"choose one of {', '.join(able)}, or none for its own" if able else "name none",
            field="sigmas",
        )
    if sigmas == "sgm_uniform":
        return {**_PLAIN, "timestep_spacing": "trailing"}
    return {**_PLAIN, f"use_{sigmas}_sigmas": True}


def _curve(config: Config) -> str | None:
    for field_name in ("use_beta_sigmas", "use_lu_lambdas", "thresholding"):
        if config.get(field_name):
            raise ValueError(f"{field_name} is set")
    return next((one for one in ("karras", "exponential") if config.get(f"use_{one}_sigmas")), None)


def _last_level(config: Config, levels: np.ndarray) -> float:
    return float(levels[0]) if config.get("final_sigmas_type", "zero") == "sigma_min" else 0.0


def _predicts(config: Config) -> str:
    told = str(config.get("prediction_type", "epsilon"))
    if told not in ("epsilon", "v_prediction", "sample", FLOW):
        raise ValueError(f"it predicts {told!r}")
    return told


def _euler(config: Config, steps: int, strength: float | None) -> Method:
    del strength
    if (
        config.get("interpolation_type", "linear") != "linear"
        or config.get("timestep_type", "discrete") != "discrete"
    ):
        raise ValueError("its noise levels lie between timesteps")
    table = ratios(signals(config, finite=True))
    timesteps = spaced(config, steps, default="linspace", whole=False)
    levels = np.interp(timesteps, np.arange(len(table)), table)
    curve = _curve(config)
    if curve is not None:
        levels = curved(curve, levels, len(timesteps))
        timesteps = timesteps_at(levels, table)
    return Euler(
        timesteps,
        _predicts(config),
        _euler_spread(config, levels),
        np.append(levels, _last_level(config, table)),
    )


def _euler_a(config: Config, steps: int, strength: float | None) -> Method:
    del strength
    table = ratios(signals(config, finite=True))
    timesteps = spaced(config, steps, default="linspace", whole=False)
    levels = np.interp(timesteps, np.arange(len(table)), table)
    spread = _euler_spread(config, levels)
    return Euler(timesteps, _predicts(config), spread, np.append(levels, 0.0), ancestral=True)


def _euler_spread(config: Config, levels: np.ndarray) -> float:
    most = float(levels.max())
    evenly = (config.get("timestep_spacing") or "linspace") in ("linspace", "trailing")
    return most if evenly else float(np.sqrt(most**2 + 1))


def _clip(config: Config, *, default: bool) -> float | None:
    return float(config.get("clip_sample_range", 1.0)) if config.get("clip_sample", default) else None


def _after_last(config: Config, kept: np.ndarray, *, default: bool) -> float:
    return 1.0 if config.get("set_alpha_to_one", default) else float(kept[0])


def _ddim(config: Config, steps: int, strength: float | None) -> Method:
    del strength
    _curve(config)
    kept = signals(config, finite=False)
    return Ddim(
        spaced(config, _within(config, steps), default="leading", whole=True),
        _predicts(config),
        kept=kept,
        last=_after_last(config, kept, default=True),
        apart=trained(config) // steps,
        clip=_clip(config, default=True),
    )


def _pndm(config: Config, steps: int, strength: float | None) -> Method:
    del strength
    if not config.get("skip_prk_steps"):
        raise ValueError("it begins with Runge and Kutta's steps")
    if config.get("rescale_betas_zero_snr"):
        raise ValueError("its noise leaves nothing of the picture")
    if _predicts(config) not in ("epsilon", "v_prediction"):
        raise ValueError(f"it predicts {config.get('prediction_type')!r}")
    kept = signals(config, finite=False)
    rising = spaced(config, _within(config, steps), default="leading", whole=True)[::-1]
    twice = np.concatenate([rising[:-1], rising[-2:-1], rising[-1:]])[::-1]
    last = _after_last(config, kept, default=False)
    return Pndm(twice, _predicts(config), kept=kept, last=last, apart=trained(config) // steps)


def _within(config: Config, steps: int) -> int:
    if steps > trained(config):
        raise ValueError(f"{steps} steps are more than it was trained on")
    return steps


_LCM_NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
"""What diffusers takes for this method where the model does not say; for the others, `tables` has it."""


def _lcm(config: Config, steps: int, strength: float | None) -> Method:
    config = {**_LCM_NOISE, **config}
    _curve(config)
    most = int(config.get("original_inference_steps", MOST_STEPS["lcm"]))
    if steps > most:
        raise DrawInvalid(
            f"steps is {steps}; the scheduler lcm takes at most {most} of this model.",
            hint="two to eight are usual for it",
            field="steps",
        )
    learned = (
        np.arange(1, int(most * (1.0 if strength is None else strength)) + 1) * (trained(config) // most) - 1
    )[::-1]
    chosen = np.floor(np.linspace(0, len(learned), steps, endpoint=False)).astype(int)
    return Lcm(
        learned[chosen].astype(np.float64),
        _predicts(config),
        kept=signals(config, finite=False),
        clip=_clip(config, default=False),
    )


def _dpm(config: Config, steps: int, strength: float | None) -> Method:
    del strength
    algorithm, order = config.get("algorithm_type", "dpmsolver++"), config.get("solver_order", 2)
    if algorithm not in ("dpmsolver++", "sde-dpmsolver++") or order not in (1, 2):
        raise ValueError(f"it is {algorithm} of order {order}")
    if config.get("solver_type", "midpoint") != "midpoint":
        raise ValueError(f"solver_type is {config['solver_type']!r}")
    if config.get("use_dynamic_shifting"):
        raise ValueError("use_dynamic_shifting is set")
    table = ratios(signals(config, finite=True))
    timesteps, levels = _dpm_levels(config, steps, table)
    final = _last_level(config, table)
    short = final == 0.0 or bool(config.get("euler_at_final")) or (
        bool(config.get("lower_order_final", True)) and len(timesteps) < _FEW_STEPS
    )  # fmt: skip
    return Dpm(
        np.trunc(timesteps), _predicts(config), levels=np.append(levels, final).astype(np.float32),
        order=order, fresh=algorithm.startswith("sde"), short_last=short,
    )  # fmt: skip


_FEW_STEPS = 15


def _dpm_levels(config: Config, steps: int, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    curve = _curve(config)
    if curve is not None:
        levels = curved(curve, table[::-1], steps)
        places = timesteps_at(levels, table)
        rounds = curve == "karras" and config.get("beta_schedule") != "squaredcos_cap_v2"
        return (places.round() if rounds else places), levels
    if config.get("use_flow_sigmas"):
        shift = float(config.get("flow_shift", 1.0))
        plain = 1 - np.linspace(1, 1 / trained(config), steps + 1)
        levels = (shift * plain / (1 + (shift - 1) * plain))[::-1][:-1]
        return levels * trained(config), levels
    timesteps = spaced(config, steps, default="linspace", whole=True, extra=1)
    return timesteps, np.interp(timesteps, np.arange(len(table)), table)


def _flow_euler(config: Config, steps: int, strength: float | None) -> Method:
    del strength
    for field_name in ("use_dynamic_shifting", "stochastic_sampling", "invert_sigmas", "shift_terminal"):
        if config.get(field_name):
            raise ValueError(f"{field_name} is set")
    count, shift = trained(config), float(config.get("shift", 1.0))

    def shifted(level: np.ndarray) -> np.ndarray:
        return shift * level / (1 + (shift - 1) * level)

    least = float(shifted(np.array([1 / count]))[0])
    levels = shifted(np.linspace(1.0, least, steps))
    curve = _curve(config)
    if curve is not None:
        levels = curved(curve, levels, steps)
    return FlowEuler((levels * count).astype(np.float32), FLOW, levels=np.append(levels, 0.0))


_MAKERS = {
    "EulerDiscreteScheduler": _euler,
    "EulerAncestralDiscreteScheduler": _euler_a,
    "DDIMScheduler": _ddim,
    "PNDMScheduler": _pndm,
    "LCMScheduler": _lcm,
    "DPMSolverMultistepScheduler": _dpm,
    "FlowMatchEulerDiscreteScheduler": _flow_euler,
}
