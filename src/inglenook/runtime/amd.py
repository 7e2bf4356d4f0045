# SPDX-License-Identifier: Apache-2.0
"""AMD GPUs that need an environment of their own to be drawn with: profiles by the name of the architecture.

Both are RDNA 3 parts that AMD does not list for PyTorch: gfx1102 is in Radeon RX 7600 and 7700S, gfx1103 in
the Radeon 780M and 760M of Ryzen 7040 and 8040. Their programs are usually absent from builds of PyTorch; the
usual way out is to let the runtime take them for gfx1100, of which they are a smaller kind. That is a
makeshift: with some kernels and drivers it has stopped whole machines, so the worker does it only where its
PyTorch has no programs for the GPU itself (`workers.image.amd`), and `none` turns it off.

    INGLENOOK_AMD_PROFILE    tells the worker: MIOpen off, no fused attention
    INGLENOOK_AMD_OVERRIDE   `HSA_OVERRIDE_GFX_VERSION`, for the worker to set where it is needed
    MIOPEN_FIND_MODE         no search for the fastest program before each new size
    TORCH_BLAS_PREFER_…      hipBLASLt has no programs for these GPUs; rocBLAS has
"""

from collections.abc import Mapping
from typing import Final

from inglenook.runtime.contracts import Device

AUTO: Final = "auto"
NONE: Final = "none"
PROFILES: Final[Mapping[str, Mapping[str, str]]] = {
    name: {
        "INGLENOOK_AMD_PROFILE": name,
        "INGLENOOK_AMD_OVERRIDE": "11.0.0",
        "MIOPEN_FIND_MODE": "FAST",
        "MIOPEN_DEBUG_FIND_ALL": "0",
        "TORCH_BLAS_PREFER_HIPBLASLT": "0",
    }
    for name in ("gfx1102", "gfx1103")
}


def environment(profile: str, device: Device) -> dict[str, str]:
    """Of a child on this device; empty for every device that is not AMD's.

    Args:
        profile: one of `PROFILES`, `auto` (that of the device's architecture, where there is one) or `none`.
    """
    if device.kind != "rocm" or profile == NONE:
        return {}
    name = device.arch if profile == AUTO else profile
    return dict(PROFILES.get(name or "", {}))
