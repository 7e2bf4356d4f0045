# SPDX-License-Identifier: Apache-2.0
"""Identifiers as types of their own, so that a job id cannot be passed where a model id is meant."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import NewType

PersonId = NewType("PersonId", str)
JobId = NewType("JobId", str)
ModelId = NewType("ModelId", str)
"""A model's name as clients write it. May hold slashes: ``stabilityai/sd-turbo``."""
DeviceId = NewType("DeviceId", str)
"""``cpu``, ``cuda:0``, ``mps``, ``rocm:0`` …"""
ResidentId = NewType("ResidentId", str)
LeaseId = NewType("LeaseId", str)
RequestId = NewType("RequestId", str)
PictureId = NewType("PictureId", str)
ConversationId = NewType("ConversationId", str)
MessageId = NewType("MessageId", str)
PresetId = NewType("PresetId", str)
BlobId = NewType("BlobId", str)
"""The SHA-256 of a blob's bytes, 64 lower-case hexadecimal digits."""

OWNER = PersonId("owner")
"""The person whose machine this is: every caller, until accounts exist."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32: no i, l, o, u
_TIME_CHARS = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_RANDOM_CHARS = 16


def new_id(prefix: str, now: datetime) -> str:
    """Return ``<prefix>_<26 characters>``: 48 bits of milliseconds since 1970, then 80 random bits.

    Ids made later sort later (to the millisecond), which gives lists a stable order and databases
    an index that grows at its end. Layout after the ULID specification, in lower case.
    """
    stamp = (now - _EPOCH) // _MILLISECOND  # whole numbers: a float would be off by one now and then
    digits = _encode(stamp, _TIME_CHARS) + _encode(secrets.randbits(80), _RANDOM_CHARS)
    return f"{prefix}_{digits}"


def _encode(value: int, length: int) -> str:
    out = []
    for _ in range(length):
        out.append(_ALPHABET[value & 31])
        value >>= 5
    return "".join(reversed(out))
