# SPDX-License-Identifier: Apache-2.0
"""Errors of the studio. Their codes are what the doors tell apart."""

from inglenook.base.errors import Conflict, Invalid, NotFound


class CorruptDocument(Invalid):
    """A document of the workspace cannot be read; the message names it."""

    default_code = "studio.corrupt"


class ProjectNotFound(NotFound):
    default_code = "project.not_found"


class DatasetNotImported(Invalid):
    """What is asked for needs pictures, and the project has none yet."""

    default_code = "dataset.not_imported"


class ImageNotFound(NotFound):
    default_code = "image.not_found"


class SplitNotFound(NotFound):
    default_code = "split.not_found"


class InUse(Conflict):
    """An experiment runs with it."""

    default_code = "studio.in_use"
