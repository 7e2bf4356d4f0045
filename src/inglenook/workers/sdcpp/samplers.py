# SPDX-License-Identifier: Apache-2.0
"""Our schedulers and sigma schedules (`wire.schedulers`) by the names of stable-diffusion.cpp.

Only those that are the same thing there: its `dpm++2s_a` and `ipndm` are others than our `dpm++_sde` and
`pndm`, and it has no `beta` schedule for these models.
"""

from typing import Final

from inglenook.workers.image.errors import DrawInvalid

METHODS: Final = {
    "euler": "euler",
    "euler_a": "euler_a",
    "heun": "heun",
    "dpm2": "dpm2",
    "ddim": "ddim_trailing",
    "lcm": "lcm",
    "dpm++_2m": "dpm++2m",
    "dpm++_2m_karras": "dpm++2m",
}
SCHEDULES: Final = {"karras": "karras", "exponential": "exponential", "sgm_uniform": "sgm_uniform"}
_KARRAS: Final = "_karras"


def sampler(scheduler: str | None, sigmas: str | None) -> tuple[str | None, str | None]:
    """Method and schedule; None for what the model has of its own. Raises `DrawInvalid` for another name."""
    if scheduler is not None and scheduler not in METHODS:
        raise DrawInvalid(
            f"stable-diffusion.cpp has no scheduler {scheduler!r}.",
            hint=f"it has {', '.join(METHODS)}; engine torch has the others",
            field="scheduler",
        )
    if sigmas is not None and sigmas not in SCHEDULES:
        raise DrawInvalid(
            f"stable-diffusion.cpp has no sigma schedule {sigmas!r}.",
            hint=f"it has {', '.join(SCHEDULES)}",
            field="sigmas",
        )
    if scheduler is None:
        return None, None if sigmas is None else SCHEDULES[sigmas]
    wanted = "karras" if scheduler.endswith(_KARRAS) else sigmas
    return METHODS[scheduler], None if wanted is None else SCHEDULES[wanted]
