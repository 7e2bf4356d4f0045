# SPDX-License-Identifier: Apache-2.0
"""What can go wrong between this worker and stable-diffusion.cpp."""

from inglenook.base.errors import Failed


class PaintFailed(Failed):
    default_code = "draw.failed"
