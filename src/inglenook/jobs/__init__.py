# SPDX-License-Identifier: Apache-2.0
"""Work longer than a request: states, progress, cancel, and what happens after a restart."""
