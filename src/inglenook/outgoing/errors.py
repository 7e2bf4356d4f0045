# SPDX-License-Identifier: Apache-2.0
"""Why something was not fetched."""

from inglenook.base.errors import Denied, Invalid, TooLarge


class BadAddress(Invalid):
    """It is no address that can be fetched: another scheme, a password in it, a strange character."""

    default_code = "outgoing.address"


class NotAllowed(Denied):
    """The settings, or the kind of address that a name stands for, forbid it. Nothing was connected to."""

    default_code = "outgoing.not_allowed"


class NotFetched(Invalid):
    """The other side did not give what was asked for: no answer, an error, the wrong kind of thing."""

    default_code = "outgoing.failed"


class Unreachable(NotFetched):
    """There is no connection to the machine; its other addresses may do."""

    default_code = "outgoing.unreachable"


class TooMuch(TooLarge):
    """It has more bytes than are taken, as sent or as unpacked."""

    default_code = "outgoing.too_large"
