# SPDX-License-Identifier: Apache-2.0
"""Training batches, made on the fly. Batch k is a function of (seed, k) alone.

So a resumed run sees what the uninterrupted one would have seen, whatever the number of loader processes, and
no random state has to be saved.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import CLIPTokenizer

from training.starter import captions, pictures
from training.starter.captions import Subject
from training.starter.data import SETS
from training.starter.vocabulary import COLOUR_NAMES, HELD_OUT_PAIRS, Noun


@dataclass(frozen=True)
class Mix:
    """How often each thing happens; every value but fresh_weight is a probability."""

    recolour: float = 0.30
    natural_colour_word: float = 0.12  # "a red apple", of the drawing as it is
    other_name: float = 0.25
    keyword: float = 0.05
    mirror: float = 0.35  # less than half: two equal modes melt into two-headed animals
    scaled: float = 0.35
    shifted: float = 0.5
    small: float = 0.04
    large_word: float = 0.03
    background: float = 0.14
    pair: float = 0.06
    style_word: float = 0.25  # of the sets whose word need not be said
    no_caption: float = 0.10
    fresh_weight: float = (
        1.5  # of a noun that starter-100 does not know: it starts later, so it is shown more often
    )


@dataclass(frozen=True)
class Example:
    """One training example. picture: float32 (32, 32, 3) in [0, 1]."""

    picture: pictures.Array
    caption: str
    subjects: tuple[Subject, ...]


class Sprites:
    """The prepared sprites, found by noun, style and colour."""

    def __init__(self, folder: Path, nouns: list[Noun], catalog: dict[str, Any]) -> None:
        stored = np.load(folder / "sprites.npz")
        self._rgba: np.ndarray = stored["rgba"]
        self.nouns = nouns
        self.keywords: dict[str, list[str]] = catalog["keywords"]
        position = {name: index for index, name in enumerate(catalog["nouns"])}
        self._row: dict[tuple[int, int, int], int] = {}
        wanted = {position[noun.name]: index for index, noun in enumerate(nouns)}
        labels = zip(
            stored["noun"].tolist(), stored["style"].tolist(), stored["colour"].tolist(), strict=True
        )
        for row, (noun, style, colour) in enumerate(labels):
            if noun in wanted:
                self._row[wanted[noun], style, colour] = row
        self._styles: list[list[int]] = [[] for _ in nouns]
        self._colours: dict[tuple[int, int], list[int]] = {}
        for noun, style, colour in self._row:
            if colour < 0:
                self._styles[noun].append(style)
            else:
                self._colours.setdefault((noun, style), []).append(colour)
        names: dict[str, str] = catalog["natural_colour"]
        self._natural = {
            (index, style): names[f"{position[noun.name]}/{style}"]
            for index, noun in enumerate(nouns)
            for style in self._styles[index]
        }

    def styles(self, noun: int) -> list[int]:
        """Indices into data.SETS of the sets that draw this noun."""
        return self._styles[noun]

    def colours(self, noun: int, style: int) -> list[int]:
        """Indices into COLOUR_NAMES of the recolours; without the natural and the held-out ones."""
        return self._colours[noun, style]

    def natural_colour(self, noun: int, style: int) -> str:
        """The colour word of the drawing as it is."""
        return self._natural[noun, style]

    def sprite(self, noun: int, style: int, colour: int = -1) -> pictures.Array:
        """float32 (64, 64, 4) in [0, 1], straight alpha; colour -1 is the drawing as it is."""
        sprite: pictures.Array = self._rgba[self._row[noun, style, colour]].astype(np.float32) / 255
        return sprite


def draw_example(
    rng: np.random.Generator,
    sprites: Sprites,
    mix: Mix,
    weights: np.ndarray,
    size_px: int = pictures.SIZE_PX,
) -> Example:
    """Draw one example of size_px a side, a multiple of 32; weights (nouns,) sum to 1."""
    unit = size_px // pictures.SIZE_PX  # pixels that stand where the small model has one
    if rng.random() < mix.pair:
        return _pair(rng, sprites, weights, size_px)
    noun = int(rng.choice(len(weights), p=weights))
    style, colour = _style_and_colour(rng, sprites, noun, mix.recolour)
    word = _colour_word(rng, sprites, noun, style, colour, mix.natural_colour_word)
    size_word: str | None = None
    side = size_px
    chance = rng.random()
    if chance < mix.small:
        size_word, side = str(rng.choice(captions.SMALL_WORDS)), int(rng.integers(15 * unit, 20 * unit))
    elif chance < mix.small + mix.large_word:
        size_word = str(rng.choice(captions.LARGE_WORDS))
    elif rng.random() < mix.scaled:
        side = int(rng.integers(25 * unit, size_px))
    slack = size_px - side
    left = top = slack // 2
    if rng.random() < mix.shifted:
        reach = (
            slack // 2 + unit
        )  # sprites have a margin of a pixel or more, so one beyond the edge cuts nothing
        left, top = (
            int(rng.integers(left - reach, left + reach + 1)),
            int(rng.integers(top - reach, top + reach + 1)),
        )
    canvas = pictures.place(sprites.sprite(noun, style, colour), side, left, top, size_px)
    if rng.random() < mix.mirror:
        canvas = pictures.mirror(canvas)
    shown = COLOUR_NAMES[colour] if colour >= 0 else sprites.natural_colour(noun, style)
    background: str | None = None
    if rng.random() < mix.background:
        # An object on its own colour would teach nothing; a held-out pair must not slip in as a background.
        choices = [
            c for c in COLOUR_NAMES if c != shown and (sprites.nouns[noun].name, c) not in HELD_OUT_PAIRS
        ]
        background = str(rng.choice(choices))
    paper = pictures.background_colour(background or "white")
    name = _name(rng, sprites, noun, mix)
    subject = Subject(sprites.nouns[noun].name, name, word, size_word)
    said = SETS[style].always_said or rng.random() < mix.style_word
    caption = captions.one_object(rng, subject, background, SETS[style].style if said else None)
    return Example(pictures.over(canvas, paper), caption, (subject,))


def _pair(rng: np.random.Generator, sprites: Sprites, weights: np.ndarray, size_px: int) -> Example:
    picture: pictures.Array = np.ones((size_px, size_px, 3), np.float32)
    half, unit = size_px // 2, size_px // pictures.SIZE_PX
    subjects: list[Subject] = []
    for place, noun in enumerate(rng.choice(len(weights), 2, replace=False, p=weights).tolist()):
        style, colour = _style_and_colour(rng, sprites, noun, 0.3, unsaid=True)
        side = int(rng.integers(half - unit, half + 2 * unit))
        left = place * (size_px - side)
        top = int(rng.integers(6 * unit, size_px - side - 5 * unit))
        canvas = pictures.place(sprites.sprite(noun, style, colour), side, left, top, size_px)
        picture = pictures.over(canvas, picture)
        word = COLOUR_NAMES[colour] if colour >= 0 else None
        subjects.append(Subject(sprites.nouns[noun].name, sprites.nouns[noun].name, word))
    return Example(picture, captions.two_objects(rng, *subjects), tuple(subjects))


def _style_and_colour(
    rng: np.random.Generator, sprites: Sprites, noun: int, recolour: float, *, unsaid: bool = False
) -> tuple[int, int]:
    """`unsaid`: only sets whose word need not stand in the caption."""
    styles = [style for style in sprites.styles(noun) if not (unsaid and SETS[style].always_said)]
    shares = np.array([SETS[style].share for style in styles])
    style = int(rng.choice(styles, p=shares / shares.sum()))
    colour = int(rng.choice(sprites.colours(noun, style))) if rng.random() < recolour else -1
    return style, colour


def _colour_word(
    rng: np.random.Generator, sprites: Sprites, noun: int, style: int, colour: int, natural: float
) -> str | None:
    if colour >= 0:
        word = COLOUR_NAMES[colour]
        return "grey" if word == "gray" and rng.random() < 0.3 else word
    return sprites.natural_colour(noun, style) if rng.random() < natural else None


def _name(rng: np.random.Generator, sprites: Sprites, noun: int, mix: Mix) -> str:
    entry = sprites.nouns[noun]
    chance = rng.random()
    keywords = sprites.keywords[entry.name]
    if chance < mix.keyword and keywords:
        return str(rng.choice(keywords))
    others = entry.names[1:]
    if chance < mix.keyword + mix.other_name and others:
        return str(rng.choice(others))
    return entry.name


class Batches(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """batches[k] -> pictures float32 (B, 3, size_px, size_px) in [-1, 1] and token ids int64 (B, T)."""

    def __init__(
        self,
        sprites: Sprites,
        tokenizer: CLIPTokenizer,
        *,
        mix: Mix,
        batch: int,
        seed: int,
        size_px: int = pictures.SIZE_PX,
    ) -> None:
        self.size_px = size_px
        self.sprites, self.tokenizer, self.mix, self.batch, self.seed = sprites, tokenizer, mix, batch, seed
        weights = np.array([1.0 if noun.trial_name else mix.fresh_weight for noun in sprites.nouns])
        self.weights = weights / weights.sum()

    def examples(self, step: int) -> list[Example]:
        """The examples of batch `step`, with their true captions."""
        rng = np.random.default_rng([self.seed, step])
        return [
            draw_example(rng, self.sprites, self.mix, self.weights, self.size_px) for _ in range(self.batch)
        ]

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        examples = self.examples(step)
        rng = np.random.default_rng([self.seed, step, 1])
        texts = [captions.nothing(rng) if rng.random() < self.mix.no_caption else e.caption for e in examples]
        ids = self.tokenizer(
            texts, padding="max_length", truncation=True, max_length=self.tokenizer.model_max_length
        ).input_ids
        stacked = torch.from_numpy(np.stack([example.picture for example in examples])).permute(0, 3, 1, 2)
        return stacked * 2 - 1, torch.tensor(ids)


def mix_as_dict(mix: Mix) -> dict[str, float]:
    """Plain values, for a checkpoint."""
    return asdict(mix)
