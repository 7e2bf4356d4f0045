# SPDX-License-Identifier: Apache-2.0
"""Workspaces of other programs, read as they are and copied into ours."""
