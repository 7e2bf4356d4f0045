# SPDX-License-Identifier: Apache-2.0
"""A checkpoint as a file that runs elsewhere, checked against what it came from."""
