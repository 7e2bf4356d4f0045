# SPDX-License-Identifier: Apache-2.0
"""One sprite, or an animation: request → pictures → matte → pixels → gallery."""
