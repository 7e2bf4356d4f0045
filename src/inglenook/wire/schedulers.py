# SPDX-License-Identifier: Apache-2.0
"""The schedulers by name: one list, so that the server can refuse a name without importing a tensor library.

A scheduler decides at which noise levels the model is asked, and how its answers are put together.
The image worker knows which class of diffusers stands behind each name.
"""

FLOW_SCHEDULERS: frozenset[str] = frozenset({"unipc", "dpm++_2m", "dpm++_sde"})
"""Those that can follow a model which predicts a flow: the others have no noise levels for it. The image
worker finds this out from the classes themselves, and a test holds the two together."""

SCHEDULERS: dict[str, str] = {
    "euler": "Euler: plain, fast, a good first choice",
    "euler_a": "Euler ancestral: adds fresh noise at every step",
    "heun": "Heun, second order: two model calls a step",
    "ddim": "DDIM: deterministic, the classic for image to image",
    "pndm": "PNDM: what early Stable Diffusion shipped with",
    "lms": "Linear multistep",
    "unipc": "UniPC: good pictures in few steps",
    "dpm++_2m": "DPM-Solver++, second order, multistep",
    "dpm++_2m_karras": "the same on Karras' noise levels",
    "dpm++_sde": "DPM-Solver++ as a stochastic equation, single step",
    "dpm++_sde_karras": "the same on Karras' noise levels",
}
