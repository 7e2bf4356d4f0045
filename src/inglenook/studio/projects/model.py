# SPDX-License-Identifier: Apache-2.0
"""A project as a value, and what its name may be. Pure."""

import unicodedata
from typing import Annotated, Literal, get_args

import msgspec

from inglenook.base.errors import Invalid
from inglenook.studio.documents import Document

TaskName = Literal[
    "classification",
    "anomaly_detection",
    "object_detection",
    "oriented_object_detection",
    "segmentation",
    "instance_segmentation",
    "regression",
]
"""AI Studio's names. Which of them can be trained is `studio.tasks.registry`'s to say."""

TASK_NAMES: tuple[str, ...] = get_args(TaskName)
MAX_NAME = 80
MAX_DESCRIPTION = 280
MAX_SHARES = 100


class Share(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody else who sees the project; with `write`, also changes what is in it."""

    person: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    write: bool = False


class Project(Document, frozen=True, kw_only=True):
    """Attributes:
    owner: who may also rename, share and delete it.
    updated_at: when the project itself was changed last, not what is in it.
    """

    id: str
    name: str
    task: TaskName
    description: str | None = None
    owner: str
    shared_with: tuple[Share, ...] = ()
    created_at: str
    updated_at: str

    def may(self, person: str, *, write: bool) -> bool:
        return person == self.owner or any(
            it.person == person and (it.write or not write) for it in self.shared_with
        )


def named(text: str, *, field: str = "name") -> str:
    """The name as it is kept: trimmed, each run of white space one space. Also the rule for names of splits.

    Raises:
        Invalid: empty, over 80 characters, or with a character that is not allowed.
    """
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name:
        raise Invalid("A name must not be empty.", field=field)
    if len(name) > MAX_NAME:
        raise Invalid(f"A name may have {MAX_NAME} characters at most; got {len(name)}.", field=field)
    if unicodedata.category(name[0])[0] not in "LN":
        raise Invalid(f"A name must begin with a letter or a digit; got {name[0]!r}.", field=field)
    wrong = next((it for it in name if not _allowed(it)), None)
    if wrong is not None:
        raise Invalid(
            f"A name may have letters, digits, spaces, _ and -; got {wrong!r}.",
            field=field,
            hint="leave it out, or write _ or - instead",
        )
    return name


def _allowed(character: str) -> bool:
    """Letters and digits of every script, with the marks that some scripts write their vowels with."""
    return character in " _-" or unicodedata.category(character)[0] in "LMN"


def described(text: str | None) -> str | None:
    """The description as it is kept; None for a blank one. Raises Invalid: too long, or control
    characters.
    """
    kept = " ".join((text or "").split())
    if len(kept) > MAX_DESCRIPTION:
        raise Invalid(
            f"A description may have {MAX_DESCRIPTION} characters at most; got {len(kept)}.",
            field="description",
        )
    if any(unicodedata.category(it) in {"Cc", "Cs"} for it in kept):
        raise Invalid("A description must not hold control characters.", field="description")
    return kept or None
