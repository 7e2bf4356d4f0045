# SPDX-License-Identifier: Apache-2.0
"""The room of the projects: their pictures, splits, experiments, evaluations and exports, as pages."""

from inglenook.web.studio.pages import studio_pages

__all__ = ["studio_pages"]
