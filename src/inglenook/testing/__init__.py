# SPDX-License-Identifier: Apache-2.0
"""Fakes that ship: each passes the same contract suite as the real thing, so that others may rely on them."""
