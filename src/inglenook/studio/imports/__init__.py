# SPDX-License-Identifier: Apache-2.0
"""Bringing pictures into a project: from a folder, an archive, a table, dropped files, the gallery."""
