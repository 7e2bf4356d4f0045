# SPDX-License-Identifier: Apache-2.0
"""A secret of this server, kept in a file that only its owner can read. Blocks."""

import secrets
from pathlib import Path

from inglenook.base.errors import Unavailable
from inglenook.store.files import write_atomic

BYTES = 32


def kept_secret(path: Path) -> bytes:
    """The secret at `path`, `BYTES` random bytes; made at the first call, with mode 0600.

    Raises:
        Unavailable: the file cannot be read, or holds something else (`store.secret`). It is never replaced
            silently: everything that was signed with the old one would end.
    """
    try:
        kept = path.read_bytes()
    except FileNotFoundError:
        kept = secrets.token_bytes(BYTES)
        write_atomic(path, kept)
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}.", code="store.secret") from error
    if len(kept) != BYTES:
        raise Unavailable(
            f"{path} holds {len(kept)} bytes instead of the {BYTES} of a secret.",
            code="store.secret",
            hint="remove it to have a new one made; addresses that were signed with the old one end then",
        )
    path.chmod(0o600)
    return kept
