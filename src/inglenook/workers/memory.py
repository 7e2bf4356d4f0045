# SPDX-License-Identifier: Apache-2.0
"""A bound on what a worker allocates: a picture made to fill the machine fills only its own reader."""

import sys


def bound_memory(limit: int) -> None:
    """Limit this process to so many bytes. Only Linux counts them; elsewhere the system's own bounds hold."""
    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(
            resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
        )
