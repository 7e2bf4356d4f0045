# SPDX-License-Identifier: Apache-2.0
"""The schedulers and sigma schedules by name: one list, so that the server can refuse a name without
importing a tensor library.

A scheduler decides how the model's answers are put together; a sigma schedule at which noise levels it is
asked. The image worker knows which class of diffusers stands behind each name; a test holds both together.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

SCHEDULERS: dict[str, str] = {
    "euler": "Euler: plain, fast, a good first choice",
    "euler_a": "Euler ancestral: adds fresh noise at every step",
    "heun": "Heun, second order: two model calls a step",
    "dpm2": "DPM-Solver-2, second order: two model calls a step",
    "dpm2_a": "DPM-Solver-2 ancestral: two model calls a step, and fresh noise",
    "ddim": "DDIM: deterministic, the classic for image to image",
    "pndm": "PNDM: what early Stable Diffusion shipped with",
    "lms": "Linear multistep",
    "lcm": "Latent consistency: two to eight steps, for models and LoRAs that were distilled for it",
    "unipc": "UniPC: good pictures in few steps",
    "dpm++_2m": "DPM-Solver++, second order, multistep",
    "dpm++_2m_karras": "the same on Karras' noise levels",
    "dpm++_2m_sde": "DPM-Solver++ as a stochastic equation, second order, multistep",
    "dpm++_3m": "DPM-Solver++, third order, multistep",
    "dpm++_sde": "DPM-Solver++ as a stochastic equation, single step",
    "dpm++_sde_karras": "the same on Karras' noise levels",
    "flow_match_euler": "Euler along a flow: what FLUX, SD3 and Qwen-Image were made with",
}

SIGMAS: dict[str, str] = {
    "karras": "more steps at low noise, after Karras et al. 2022",
    "exponential": "noise levels in even ratios",
    "beta": "more steps at both ends, by quantiles of a beta distribution",
    "sgm_uniform": "even timesteps without the last, as Stability's own sampler has them",
}
"""Sigma schedules: where the noise levels lie. A request that names none gets the scheduler's own."""

FLOW_SCHEDULERS: frozenset[str] = frozenset(
    {
        "euler",
        "heun",
        "lcm",
        "unipc",
        "dpm++_2m",
        "dpm++_2m_sde",
        "dpm++_3m",
        "dpm++_sde",
        "flow_match_euler",
    }
)
"""Those that can follow a model which predicts a flow. There `euler` is `flow_match_euler`."""

ONLY_FLOW: frozenset[str] = frozenset({"flow_match_euler"})
"""Those that can follow nothing else."""

MOST_STEPS: dict[str, int] = {"lcm": 50}
"""Schedulers that cannot take any number of steps: a consistency model was distilled on so many noise levels.
Along a flow there is no such bound."""

_CURVES = frozenset({"karras", "exponential", "beta"})
_ALL = frozenset(SIGMAS)

_TAKES: dict[str, frozenset[str]] = {
    **dict.fromkeys(("euler", "heun", "dpm2", "dpm2_a", "lms", "unipc"), _ALL),
    **dict.fromkeys(("dpm++_2m", "dpm++_2m_sde", "dpm++_3m"), _ALL),
    **dict.fromkeys(("euler_a", "ddim", "pndm"), frozenset({"sgm_uniform"})),
    "dpm++_sde": _CURVES,
    **dict.fromkeys(("dpm++_2m_karras", "dpm++_sde_karras"), frozenset({"karras"})),
}
_TAKES_ON_FLOW: dict[str, frozenset[str]] = {
    **dict.fromkeys(("euler", "flow_match_euler", "lcm"), _CURVES),
    "unipc": frozenset({"karras"}),
}

ALIASES: dict[str, tuple[str, str | None]] = {
    # ALICE's names, and what its documents list. Its single-step second-order sampler with fresh noise is the
    # one that it uses for `dpm++_sde`, and so is ours.
    "euler_ancestral": ("euler_a", None),
    "dpm++": ("dpm++_2m", None),
    "dpm++_karras": ("dpm++_2m_karras", None),
    "dpm_solver++": ("dpm++_2m", None),
    "dpm++2m": ("dpm++_2m", None),
    "dpm++2mv2": ("dpm++_2m", None),
    "dpm++2s_a": ("dpm++_sde", None),
    "ddim_trailing": ("ddim", "sgm_uniform"),
    "ipndm": ("pndm", None),
    # as A1111 spells them
    "euler a": ("euler_a", None),
    "dpm++ 2m": ("dpm++_2m", None),
    "dpm++ 2m karras": ("dpm++_2m_karras", None),
    "dpm++ 2m sde": ("dpm++_2m_sde", None),
    "dpm++ 2s a": ("dpm++_sde", None),
    "dpm++ 3m": ("dpm++_3m", None),
    "dpm++ sde": ("dpm++_sde", None),
    "dpm++ sde karras": ("dpm++_sde_karras", None),
    "dpm2 a": ("dpm2_a", None),
    "plms": ("pndm", None),
    # as ComfyUI and InvokeAI do
    "dpm_2": ("dpm2", None),
    "dpm_2_ancestral": ("dpm2_a", None),
    "kdpm_2": ("dpm2", None),
    "kdpm_2_a": ("dpm2_a", None),
    "dpmpp_2m": ("dpm++_2m", None),
    "dpmpp_2m_sde": ("dpm++_2m_sde", None),
    "dpmpp_2s": ("dpm++_sde", None),
    "dpmpp_2s_ancestral": ("dpm++_sde", None),
    "dpmpp_3m": ("dpm++_3m", None),
    "dpmpp_sde": ("dpm++_sde", None),
    "uni_pc": ("unipc", None),
    "flowmatch_euler": ("flow_match_euler", None),
    "flow match euler": ("flow_match_euler", None),
}
"""Other spellings, in lower case → our name, and the sigma schedule that comes with it. Any of them, and any
name of ours, may end in a sigma schedule: `DPM++ 2M Exponential`, `euler_karras`, `dpmpp_2m_k`."""

_ENDINGS: dict[str, str | None] = {
    "karras": "karras",
    "k": "karras",
    "exponential": "exponential",
    "beta": "beta",
    "sgm_uniform": "sgm_uniform",
}
_NO_SCHEDULE = frozenset({"automatic", "normal", "simple", "uniform", "scheduler", "default"})
"""What A1111 and ComfyUI call it when nothing particular is wanted."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A scheduler by our own name, and the sigma schedule that its spelling brought along."""

    scheduler: str
    sigmas: str | None = None


def chosen(name: str) -> Chosen | None:
    """What `name` stands for, in any spelling that is known; None for a name that is not."""
    plain = _plain(name)
    found = _NAMES.get(plain)
    if found is not None:
        return found
    for ending, sigmas in _ENDINGS.items():
        base = _NAMES.get(plain.removesuffix(f"_{ending}")) if plain.endswith(f"_{ending}") else None
        if base is not None and base.sigmas is None:
            with_ending = f"{base.scheduler}_{sigmas}"
            return Chosen(with_ending) if with_ending in SCHEDULERS else Chosen(base.scheduler, sigmas)
    return None


def chosen_sigmas(name: str) -> str | None:
    """Our name of a sigma schedule in any spelling (`SGM Uniform`); None for a name that is not known."""
    plain = _plain(name)
    return plain if plain in SIGMAS else None


def names_no_schedule(name: str) -> bool:
    """Whether it is another program's word for the scheduler's own noise levels."""
    return _plain(name) in _NO_SCHEDULE


def aliases(scheduler: str) -> tuple[str, ...]:
    """The other spellings that stand for this scheduler and nothing besides."""
    return tuple(name for name, (ours, sigmas) in ALIASES.items() if ours == scheduler and sigmas is None)


def takes_sigmas(scheduler: str, sigmas: str, *, flow: bool = False) -> bool:
    """Whether the scheduler can be asked at the noise levels of that schedule.

    Args:
        flow: for a model that predicts a flow.
    """
    return sigmas in (_TAKES_ON_FLOW if flow else _TAKES).get(scheduler, ())


def sigmas_of(scheduler: str, *, flow: bool = False) -> tuple[str, ...]:
    """The sigma schedules that the scheduler takes, in the order of the list."""
    return tuple(name for name in SIGMAS if takes_sigmas(scheduler, name, flow=flow))


def fitting(*, flow: bool) -> tuple[str, ...]:
    """The schedulers that can follow a model, in the order of the list."""
    return tuple(name for name in SCHEDULERS if (name in FLOW_SCHEDULERS if flow else name not in ONLY_FLOW))


def is_flow(fit: Collection[str]) -> bool:
    """Whether the schedulers that fit a model are those of one that predicts a flow."""
    return not ONLY_FLOW.isdisjoint(fit)


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", "_", name.strip().lower())


_NAMES: dict[str, Chosen] = {
    **{_plain(name): Chosen(*meant) for name, meant in ALIASES.items()},
    **{name: Chosen(name) for name in SCHEDULERS},
}
