# SPDX-License-Identifier: Apache-2.0
"""What is kept of a check, and what is asked of one."""

from typing import Annotated, Final

import msgspec

from inglenook.studio.documents import Document
from inglenook.vision.checks.model import MAX_DISTANCE, Finding, Findings

KIND: Final = "studio.check"


class CheckRules(msgspec.Struct, frozen=True, kw_only=True):
    """From when on something is told.

    Attributes:
        distance: bits of 64 in which the hashes of pictures may differ that are looked at a second time.
        tiny_px: a picture with a shorter side is tiny. aspect: a side so many times the other is odd.
        imbalance: so many times the pictures of the smallest class in the largest.
        read_files: also read every file again, to find those that are damaged or gone.
    """

    distance: Annotated[int, msgspec.Meta(ge=0, le=MAX_DISTANCE)] = 4
    tiny_px: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 32
    aspect: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 4.0
    imbalance: Annotated[float, msgspec.Meta(ge=1, le=1e6)] = 10.0
    read_files: bool = False


class CheckOrder(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of a job."""

    project: str
    person: str
    rules: CheckRules


class CheckDocument(Document, frozen=True, kw_only=True):
    """`checks/000003.json`: what was found in one version of the data set."""

    dataset_version: int
    created_at: str
    rules: CheckRules
    found: Findings


class SourceDocument(Document, frozen=True, kw_only=True):
    """`checks/from-….json`: what somebody else has found, an evaluation for instance."""

    source: str
    dataset_version: int
    created_at: str
    findings: tuple[Finding, ...]
