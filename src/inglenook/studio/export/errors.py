# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with an export."""

from inglenook.base.errors import Conflict, Failed, Invalid, NotFound


class ExportNotFound(NotFound):
    default_code = "export.not_found"


class ExportFileMissing(NotFound):
    """It failed, is not done yet, or has no such file."""

    default_code = "export.no_file"


class CheckpointNotFound(NotFound):
    default_code = "checkpoint.not_found"


class NotCompleted(Conflict):
    default_code = "export.not_completed"


class ExportBusy(Conflict):
    """It is being made."""

    default_code = "export.busy"


class NameTaken(Conflict):
    """The library has a model of that name."""

    default_code = "export.name_taken"


class NotRegistered(Conflict):
    default_code = "export.not_registered"


class BadExport(Invalid):
    """A field cannot be accepted; `field` names it."""

    default_code = "export.invalid"


class ExportRefused(Invalid):
    """It cannot be made as it was asked for; the code and the words are the worker's."""

    default_code = "export.failed"


class ExportFailure(Failed):
    """It failed; the code and the words are the worker's."""

    default_code = "export.failed"
