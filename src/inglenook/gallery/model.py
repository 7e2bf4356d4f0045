# SPDX-License-Identifier: Apache-2.0
"""A picture in the gallery as a value, and what pictures can be looked for by. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from inglenook.base.errors import Invalid
from inglenook.base.ids import BlobId, JobId, ModelId, PersonId, PictureId
from inglenook.store.text import storable

MAX_TAGS = 20
MAX_TAG_CHARS = 50
UNKNOWN_SEED = -1
"""Of a picture from elsewhere that does not tell its seed."""


class Source(StrEnum):
    MADE = "made"  # drawn here
    IMPORTED = "imported"  # brought by a person


class Shape(StrEnum):
    SQUARE = "square"
    LANDSCAPE = "landscape"
    PORTRAIT = "portrait"


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture that was made and kept.

    Attributes:
        job: that made it; None for one from elsewhere.
        blob: its file in the blob store, with all parameters embedded in it.
        width, height: pixels of the file.
        size_bytes: of the file.
        seed: `UNKNOWN_SEED` where it is not known.
        parameters: everything that is needed to make it again (JSON; the same as embedded in the file).
        tags: as `tags_of` makes them, in the order in which they were given.
        deleted_at: since when it lies in the trash; None where it does not.
        is_public: the owner's wish that others may see it. Private is the rule.
        public_until: when it becomes private again by itself; None for never.
    """

    id: PictureId
    owner: PersonId
    job: JobId | None
    blob: BlobId
    media_type: str
    width: int
    height: int
    size_bytes: int
    model: ModelId
    prompt: str
    seed: int
    parameters: dict[str, Any]
    created_at: datetime
    source: Source = Source.MADE
    favourite: bool = False
    tags: tuple[str, ...] = ()
    deleted_at: datetime | None = None
    is_public: bool = False
    public_until: datetime | None = None

    def public_at(self, now: datetime) -> bool:
        """Whether others may see it at that time."""
        return (
            self.is_public
            and self.deleted_at is None
            and (self.public_until is None or now < self.public_until)
        )

    @property
    def mode(self) -> str | None:
        """How it was made: `text`, `image`, `inpaint`, `edit`; None where that is not known."""
        mode = self.parameters.get("mode")
        return mode[:16] if isinstance(mode, str) and mode else None

    @property
    def beside(self) -> tuple[BlobId, ...]:
        """Blobs that were kept for this picture besides its file: the frames of a sprite, and what was drawn
        for it. What a picture from elsewhere says of itself counts for nothing."""
        sprite = self.parameters.get("sprite") if self.source is Source.MADE else None
        return () if sprite is None else tuple(map(BlobId, (*sprite["frames"], *sprite["drawings"])))

    @property
    def has_lora(self) -> bool:
        return bool(self.parameters.get("loras"))

    @property
    def negative_prompt(self) -> str:
        negative = self.parameters.get("negative_prompt")
        return negative if isinstance(negative, str) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What pictures must be like to be listed; None and empty mean "any".

    Attributes:
        search: words that must all stand in prompt, negative prompt, model or tags; the last one may be the
            beginning of a word. Nothing in it is syntax.
        tags: all of them.
        since, until: when it was made; `until` itself is left out.
        width, height: exactly.
        trashed: those in the trash instead of all others.
    """

    search: str = ""
    model: ModelId | None = None
    favourite: bool | None = None
    tags: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    shape: Shape | None = None
    width: int | None = None
    height: int | None = None
    mode: str | None = None
    has_lora: bool | None = None
    source: Source | None = None
    public: bool | None = None
    trashed: bool = False


ANY = Filter()


def tags_of(words: Iterable[str]) -> tuple[str, ...]:
    """Tags as they are kept: trimmed, lower-case, each once, in the order given; empty ones are left out.

    Raises:
        Invalid: more than `MAX_TAGS`, or one longer than `MAX_TAG_CHARS`; `field` is `tags`.
    """
    found = dict.fromkeys(tag for word in words if (tag := " ".join(storable(word).lower().split())))
    for tag in found:
        if len(tag) > MAX_TAG_CHARS:
            raise Invalid(
                f"The tag {tag[:20]!r}… has {len(tag)} characters; at most {MAX_TAG_CHARS} are kept.",
                code="picture.tag",
                field="tags",
            )
    if len(found) > MAX_TAGS:
        raise Invalid(
            f"{len(found)} tags are too many; a picture has at most {MAX_TAGS}.",
            code="picture.tag",
            field="tags",
        )
    return tuple(found)
