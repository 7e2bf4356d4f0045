# SPDX-License-Identifier: Apache-2.0
"""What is said about a picture: plain nouns most of the time, and the phrases that people and programs add.

A caption must be true of its picture, or say nothing about it: "small" only where the sprite is small, a
background only where there is one, but "best quality" anywhere, so that it does no harm.
"""

from dataclasses import dataclass

import numpy as np

from training.starter.vocabulary import HELD_OUT_PAIRS, with_article

# "{}" is the subject with its article.
PREFIXES: tuple[str, ...] = (
    "pixel art of {}",
    "a picture of {}",
    "an icon of {}",
    "icon of {}",
    "a drawing of {}",
    "a sprite of {}",
    "an image of {}",
    "a photo of {}",
    "an illustration of {}",
    "an emoji of {}",
    "pixel art, {}",
)
SUFFIXES: tuple[str, ...] = (
    ", best quality",
    ", best quality, masterpiece",
    ", masterpiece",
    ", high quality",
    ", pixel art",
    ", highly detailed",
    ", simple",
    ", icon",
    ", game asset",
    ", sprite",
    ", cartoon",
)
ADJECTIVES: tuple[str, ...] = ("cute", "nice", "beautiful", "pretty", "cool", "colorful", "cartoon")
SMALL_WORDS: tuple[str, ...] = ("small", "tiny", "little")
LARGE_WORDS: tuple[str, ...] = ("big", "large")
# Never trained; evaluation asks whether an unknown phrase does harm.
HELD_OUT_TEMPLATES: tuple[str, ...] = ("a painting of {}", "{}, sharp focus", "the lovely {noun}")

# What people write into the negative prompt. Training shows it with any picture at all, as it does the empty
# caption, so that guidance away from it means guidance away from "anything".
NEGATIVES: tuple[str, ...] = (
    "low quality",
    "worst quality",
    "bad quality",
    "blurry",
    "ugly",
    "deformed",
    "bad anatomy",
    "watermark",
    "text",
    "signature",
    "jpeg artifacts",
    "noise",
    "cropped",
    "duplicate",
    "lowres",
    "nsfw",
    "extra limbs",
    "out of focus",
    "photo",
    "3d",
)


@dataclass(frozen=True)
class Subject:
    """What a picture shows. noun is the plain name, name the word that the caption uses for it."""

    noun: str
    name: str
    colour: str | None = None
    size: str | None = None  # a word from SMALL_WORDS or LARGE_WORDS, if the sprite is that size

    def __post_init__(self) -> None:
        if (self.noun, self.colour) in HELD_OUT_PAIRS:
            raise ValueError(f"a {self.colour} {self.noun} is held out and must not be captioned")

    def phrase(self, adjective: str | None = None) -> str:
        """size, adjective, colour, name: "small cute red car"."""
        return " ".join(word for word in (self.size, adjective, self.colour, self.name) if word)


STYLE_TEMPLATES: tuple[str, ...] = ("{}, {} style", "{}, {} style", "{} in {} style")
"""How a style is asked for: the picture, then the style's word."""


def one_object(
    rng: np.random.Generator, subject: Subject, background: str | None, style: str | None = None
) -> str:
    """A caption for a single object; background is a colour word where one is drawn, style a style's word
    where it is to be said."""
    plain = rng.random() < 0.55
    adjective = None if plain or rng.random() < 0.6 else str(rng.choice(ADJECTIVES))
    text = subject.phrase(adjective)
    article = rng.random()
    if article < 0.72:
        text = with_article(text)
    elif article < 0.82:
        text = f"the {text}"
    if not plain and rng.random() < 0.5:
        text = str(rng.choice(PREFIXES)).format(text)
    if background is not None:
        text += str(rng.choice([" on a {} background", " with a {} background", ", {} background"])).format(
            background
        )
    if style is not None:
        text = str(rng.choice(STYLE_TEMPLATES)).format(text, style)
    if not plain and rng.random() < 0.5:
        text += str(rng.choice(SUFFIXES))
    return text


def two_objects(rng: np.random.Generator, left: Subject, right: Subject) -> str:
    """A caption for two objects, named from left to right."""
    joint = str(rng.choice(["and", "and", "next to"]))
    text = f"{with_article(left.phrase())} {joint} {with_article(right.phrase())}"
    return str(rng.choice(PREFIXES)).format(text) if rng.random() < 0.15 else text


def nothing(rng: np.random.Generator) -> str:
    """A caption that says nothing of the picture: empty, or a negative prompt."""
    if rng.random() < 0.6:
        return ""
    count = int(rng.integers(1, 6))
    return ", ".join(rng.choice(NEGATIVES, count, replace=False).tolist())


def all_words() -> set[str]:
    """Every fixed word that a caption can hold, for the tokenizer."""
    texts = (*PREFIXES, *SUFFIXES, *ADJECTIVES, *SMALL_WORDS, *LARGE_WORDS, *NEGATIVES, *HELD_OUT_TEMPLATES)
    words = {word.strip(",") for text in texts for word in text.split() if "{" not in word}
    return words | {"a", "an", "the", "on", "with", "background", "and", "next", "to", "two", "in", "style"}
