# SPDX-License-Identifier: Apache-2.0
"""Why a starter could not be installed."""

from inglenook.base.errors import Failed, NotFound, Unavailable


class StarterUnknown(NotFound):
    """There is no starter of that name."""

    default_code = "starter.unknown"


class StarterNotFetched(Unavailable):
    """Its package is not fetched: offline, or not in the folder that was named."""

    default_code = "starter.not_fetched"


class StarterWrong(Failed):
    """What came is not what the list of starters says: another digest, another size, a missing file."""

    default_code = "starter.wrong"
