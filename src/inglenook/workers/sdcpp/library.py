# SPDX-License-Identifier: Apache-2.0
"""stable-diffusion.cpp inside this process, by the package cyllama."""

import logging
from collections import deque
from typing import Any, Final

import numpy as np
from cyllama import sd

from inglenook.wire.image import LoadImageModel
from inglenook.workers.image.errors import LoadUnsupported
from inglenook.workers.sdcpp.errors import PaintFailed
from inglenook.workers.sdcpp.painting import Painting, Step

log = logging.getLogger(__name__)

_METHODS: Final = {
    "euler": sd.SampleMethod.EULER,
    "euler_a": sd.SampleMethod.EULER_A,
    "heun": sd.SampleMethod.HEUN,
    "dpm2": sd.SampleMethod.DPM2,
    "dpm++2m": sd.SampleMethod.DPMPP2M,
    "ddim_trailing": sd.SampleMethod.DDIM_TRAILING,
    "lcm": sd.SampleMethod.LCM,
}
_SCHEDULES: Final = {
    "karras": sd.Scheduler.KARRAS,
    "exponential": sd.Scheduler.EXPONENTIAL,
    "sgm_uniform": sd.Scheduler.SGM_UNIFORM,
}
_TYPES: Final = {"float32": sd.SDType.F32, "float16": sd.SDType.F16, "bfloat16": sd.SDType.BF16}


class Library:
    """One model in memory.

    Raises `LoadUnsupported` for a file that stable-diffusion.cpp does not read. Some files end the process.
    """

    def __init__(self, request: LoadImageModel) -> None:
        self._errors: deque[str] = deque(maxlen=3)
        self._step: Step | None = None
        self._taken = 0
        self._preview_every = 0
        self._preview: np.ndarray | None = None
        sd.set_log_callback(self._logged)
        sd.set_progress_callback(self._progressed)
        try:
            self._context = sd.SDContext(_parameters(request))
        except RuntimeError as error:
            why = " ".join(self._errors) or str(error)
            raise LoadUnsupported(f"stable-diffusion.cpp does not read this file: {why}") from error

    def paint(self, painting: Painting, *, step: Step) -> np.ndarray:
        self._errors.clear()
        self._step, self._taken, self._preview = step, painting.steps_taken, None
        self._preview_every = painting.preview_every
        sd.set_preview_callback(
            self._previewed if painting.preview_every else None,
            mode=sd.PreviewMode.PROJ if painting.preview_every else sd.PreviewMode.NONE,
            interval=max(painting.preview_every, 1),
            denoised=True,
            noisy=False,
        )
        try:
            pictures = self._context.generate(**_arguments(painting))
        except RuntimeError as error:
            raise PaintFailed(self._why(str(error))) from error
        finally:
            self._step = None
        if len(pictures) != 1 or not pictures[0].is_valid:
            raise PaintFailed(self._why("it gave no picture"))
        return np.array(pictures[0].to_numpy(), dtype=np.uint8)[..., :3]

    def close(self) -> None:
        self._context.close()

    def _why(self, otherwise: str) -> str:
        return f"stable-diffusion.cpp: {' '.join(self._errors) or otherwise}"

    def _logged(self, level: int, text: str) -> None:
        if level < sd.LogLevel.WARN:  # what is below may quote a prompt
            return
        words = " ".join(text.split())
        log.warning("%s", words)
        if level >= sd.LogLevel.ERROR:
            self._errors.append(words)

    def _progressed(self, done: int, of: int, seconds: float) -> None:  # noqa: ARG002 - cyllama gives three
        """Also called while a file is read and for each tile of the VAE: their counts are not the steps."""
        if self._step is None or of != self._taken or not 0 < done <= of:
            return
        preview, self._preview = self._preview, None
        self._step(done, of, preview if self._preview_every else None)

    def _previewed(self, step: int, frames: list[Any], noisy: bool) -> None:  # noqa: ARG002
        """Comes just before the progress of the same step."""
        if frames:
            self._preview = np.array(frames[0].to_numpy(), dtype=np.uint8)[..., :3]


def _parameters(request: LoadImageModel) -> Any:
    told = sd.SDContextParams()
    told.model_path = request.path
    if "vae" in request.parts:
        told.vae_path = request.parts["vae"]
    if request.threads is not None:
        told.n_threads = request.threads
    if request.dtype:
        told.wtype = _TYPES[request.dtype]
    told.vae_decode_only = False  # pictures go in, too
    told.free_params_immediately = False  # or the second picture reads what was freed
    return told


def _arguments(painting: Painting) -> dict[str, Any]:
    told: dict[str, Any] = {
        "prompt": painting.prompt,
        "negative_prompt": painting.negative_prompt,
        "width": painting.width,
        "height": painting.height,
        "seed": painting.seed,
        "batch_count": 1,
        "sample_steps": painting.steps,
        "cfg_scale": painting.guidance_scale,
        "vae_tiling": painting.tiled,
    }
    if painting.method is not None:
        told["sample_method"] = _METHODS[painting.method]
    if painting.schedule is not None:
        told["scheduler"] = _SCHEDULES[painting.schedule]
    if painting.clip_skip is not None:
        told["clip_skip"] = painting.clip_skip
    if painting.image is not None:
        told["init_image"] = sd.SDImage.from_numpy(painting.image.copy())  # it takes no read-only array
        told["strength"] = painting.strength
    if painting.mask is not None:
        told["mask_image"] = sd.SDImage.from_numpy(painting.mask[..., None].copy())
    return told
