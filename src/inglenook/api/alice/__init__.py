# SPDX-License-Identifier: Apache-2.0
"""ALICE's dialect."""
