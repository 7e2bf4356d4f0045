# SPDX-License-Identifier: Apache-2.0
"""Inglenook: a private AI workshop for one machine."""

__version__ = "0.1.0"
