# SPDX-License-Identifier: Apache-2.0
"""What the server's AMD profile asks of this process; nothing without one, or for another vendor's GPU.

Called before anything looks at the device: the lower layer reads its environment once.
"""

from collections.abc import Collection, MutableMapping

import torch

PROFILE = "INGLENOOK_AMD_PROFILE"
OVERRIDE = "INGLENOOK_AMD_OVERRIDE"


def prepare(environ: MutableMapping[str, str]) -> None:
    """Set what the profile in `environ` asks for; MIOpen off and no fused attention with it."""
    if PROFILE not in environ or torch.version.hip is None:
        return
    override(environ, torch._C._cuda_getArchFlags().split())
    torch.backends.cudnn.enabled = False
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)


def override(environ: MutableMapping[str, str], built_for: Collection[str]) -> None:
    """Let the runtime take the GPU for a larger one of its make, where this PyTorch has no programs for it.

    Args:
        built_for: architectures that this PyTorch has programs for. What a person has set stays.
    """
    if environ[PROFILE] not in built_for and OVERRIDE in environ:
        environ.setdefault("HSA_OVERRIDE_GFX_VERSION", environ[OVERRIDE])
