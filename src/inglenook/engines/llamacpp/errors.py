# SPDX-License-Identifier: Apache-2.0
"""Why a llama.cpp could not be installed."""

from inglenook.base.errors import Failed, Invalid, NotFound


class NoFittingArchive(NotFound):
    """The project's releases hold nothing for this machine, or nothing that could be checked."""

    default_code = "engine.no_archive"


class ReleaseUnreadable(Invalid):
    """What answered is not a list of releases."""

    default_code = "engine.release"


class ArchiveRefused(Failed):
    """An archive has another digest than the listed one, or holds what must not be unpacked."""

    default_code = "engine.archive"


class EngineBroken(Failed):
    """What was installed does not run here. What was there before is still there."""

    default_code = "engine.broken"
