# SPDX-License-Identifier: Apache-2.0
"""The image worker: diffusers' components in a child of our own, spoken to over the wire."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from inglenook.runtime import amd
from inglenook.runtime.contracts import Device, LoadPlan
from inglenook.runtime.image_child import ImageChild, ImageEngine
from inglenook.runtime.visibility import only
from inglenook.wire.image import Layout, LoadImageModel

NAME: Final = "diffusers"
MODULE: Final = "inglenook.workers.image"
TORCH_DEVICE: Final = {"cuda": "cuda", "rocm": "cuda", "mps": "mps", "cpu": "cpu"}
DTYPES: Final = {"cuda": "float16", "rocm": "float16", "mps": "float16", "cpu": "float32"}
"""What is loaded by default: half precision where the hardware is made for it."""

_PACKAGES: Final = ("torch", "diffusers", "transformers")


def missing() -> tuple[str, str] | None:
    """Why it cannot draw here, and what to do; None when its packages are there. Nothing is loaded."""
    absent = [name for name in _PACKAGES if find_spec(name) is None]
    if not absent:
        return None
    return (
        f"PyTorch cannot draw here: {', '.join(absent)} not installed.",
        "pip install 'inglenook[pictures]'",
    )


class DiffusersEngine(ImageEngine):
    """Draws with torch and diffusers. See `ImageEngine`.

    Args:
        cpu_threads: for a child on the CPU; None leaves it to the library.
        compile_mode: a mode of `torch.compile` for the denoising network; None does not compile.
        compile_cache: where compiled code is kept between runs; made when it is needed.
        profile: an AMD profile, see `amd`; "auto" takes the one of the device, where there is one.
    """

    name = NAME

    def __init__(
        self,
        *,
        spool_root: Path,
        start_timeout_s: float,
        cancel_grace_s: float,
        stop_grace_s: float,
        cpu_threads: int | None,
        compile_mode: str | None = None,
        compile_cache: Path | None = None,
        profile: str = amd.NONE,
        module: str = MODULE,
    ) -> None:
        super().__init__(
            spool_root=spool_root,
            start_timeout_s=start_timeout_s,
            cancel_grace_s=cancel_grace_s,
            stop_grace_s=stop_grace_s,
        )
        self._cpu_threads = cpu_threads
        self._compile_mode = compile_mode
        self._compile_cache = compile_cache
        self._profile = profile
        self._module = module

    async def start(self, plan: LoadPlan, device: Device) -> ImageChild:
        """`plan.options`: `path`, `layout`, `family`, and perhaps `variant`, `parts`, `dtype`, `saving`,
        `vae_on_cpu`.

        Raises `ChildFailed`.
        """
        if self._compile_mode is not None and self._compile_cache is not None:
            self._compile_cache.mkdir(parents=True, exist_ok=True)
        layout: Layout = plan.options["layout"]
        return await self._started(
            plan.model,
            module=self._module,
            name=f"The image worker of {plan.model}",
            environment=only(device) | amd.environment(self._profile, device),
            load=lambda spool: LoadImageModel(
                path=str(plan.options["path"]),
                layout=layout,
                family=plan.options["family"],
                variant=plan.options.get("variant", ""),
                parts=dict(plan.options.get("parts", {})),
                device=_torch_device(device),
                dtype=plan.options.get("dtype", DTYPES[device.kind]),
                saving=plan.options.get("saving", 0),
                vae_on_cpu=plan.options.get("vae_on_cpu", False),
                compile=self._compile_mode,
                compile_cache=None if self._compile_cache is None else str(self._compile_cache),
                threads=self._cpu_threads if device.kind == "cpu" else None,
                spool=spool,
            ),
        )


def _torch_device(device: Device) -> str:
    name = TORCH_DEVICE[device.kind]
    return name if name != "cuda" else "cuda:0"  # the child sees only its own device
