# SPDX-License-Identifier: Apache-2.0
"""Model files on disk: what each one is, read from its header, never from its name."""
