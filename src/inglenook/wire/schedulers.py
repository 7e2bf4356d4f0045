# SPDX-License-Identifier: Apache-2.0
"""The schedulers and sigma schedules by name: one list, so that the server can refuse a name without
importing a tensor library.

A scheduler decides how the model's answers are put together; a sigma schedule at which noise levels it is
asked. The image worker knows which class of diffusers stands behind each name; a test holds both together.
"""

from dataclasses import dataclass

SCHEDULERS: dict[str, str] = {
    "euler": "Euler: plain, fast, a good first choice",
    "euler_a": "Euler ancestral: adds fresh noise at every step",
    "heun": "Heun, second order: two model calls a step",
    "ddim": "DDIM: deterministic, the classic for image to image",
    "pndm": "PNDM: what early Stable Diffusion shipped with",
    "lms": "Linear multistep",
    "lcm": "Latent consistency: two to eight steps, for models and LoRAs that were distilled for it",
    "unipc": "UniPC: good pictures in few steps",
    "dpm++_2m": "DPM-Solver++, second order, multistep",
    "dpm++_2m_karras": "the same on Karras' noise levels",
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
    {"euler", "heun", "lcm", "unipc", "dpm++_2m", "dpm++_3m", "dpm++_sde", "flow_match_euler"}
)
"""Those that can follow a model which predicts a flow. There `euler` is `flow_match_euler`."""

ONLY_FLOW: frozenset[str] = frozenset({"flow_match_euler"})
"""Those that can follow nothing else."""

ALIASES: dict[str, tuple[str, str | None]] = {
    # ALICE's names, and what its documents list
    "euler_ancestral": ("euler_a", None),
    "dpm++": ("dpm++_2m", None),
    "dpm++_karras": ("dpm++_2m_karras", None),
    "dpm_solver++": ("dpm++_2m", None),
    "dpm++2m": ("dpm++_2m", None),
    "dpm++2mv2": ("dpm++_2m", None),
    "ddim_trailing": ("ddim", "sgm_uniform"),
    "ipndm": ("pndm", None),
    # as A1111 and ComfyUI spell them
    "euler a": ("euler_a", None),
    "dpm++ 2m": ("dpm++_2m", None),
    "dpm++ 2m karras": ("dpm++_2m_karras", None),
    "dpm++ 3m": ("dpm++_3m", None),
    "dpm++ sde": ("dpm++_sde", None),
    "dpm++ sde karras": ("dpm++_sde_karras", None),
    "dpmpp_2m": ("dpm++_2m", None),
    "dpmpp_3m": ("dpm++_3m", None),
    "dpmpp_sde": ("dpm++_sde", None),
    "uni_pc": ("unipc", None),
    "flowmatch_euler": ("flow_match_euler", None),
}
"""Other spellings, in lower case → our name, and the sigma schedule that comes with it."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A scheduler by our own name, and the sigma schedule that its spelling brought along."""

    scheduler: str
    sigmas: str | None = None


def chosen(name: str) -> Chosen | None:
    """What `name` stands for, in any spelling that is known; None for a name that is not."""
    plain = name.strip().lower()
    if plain in SCHEDULERS:
        return Chosen(plain)
    return Chosen(*ALIASES[plain]) if plain in ALIASES else None


_OWN_LEVELS = frozenset(
    {"ddim", "pndm", "lcm", "euler_a", "dpm++_2m_karras", "dpm++_sde_karras", "flow_match_euler"}
)


def takes_sigmas(scheduler: str, sigmas: str) -> bool:
    """Whether the scheduler can be asked at the noise levels of that schedule."""
    if scheduler.endswith("_karras"):
        return sigmas == "karras"
    return scheduler not in _OWN_LEVELS or sigmas == "sgm_uniform"


def fitting(*, flow: bool) -> tuple[str, ...]:
    """The schedulers that can follow a model, in the order of the list."""
    return tuple(name for name in SCHEDULERS if (name in FLOW_SCHEDULERS if flow else name not in ONLY_FLOW))
