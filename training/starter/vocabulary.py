# SPDX-License-Identifier: Apache-2.0
"""What the model learns to draw: nouns, colours, and the noun + colour pairs that it must never see.

`vocabulary.tsv` is the list to edit: one noun a line, in order of importance, so that `--nouns N` takes the
first N.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

VOCABULARY_FILE = Path(__file__).with_name("vocabulary.tsv")

# Where each colour word lies: hue in degrees, saturation and value in [0, 1]. None: a neutral, see
# pictures.recolour.
COLOURS: dict[str, tuple[float, float, float] | None] = {
    "red": (0, 0.82, 0.88),
    "orange": (27, 0.90, 1.00),
    "yellow": (50, 0.85, 1.00),
    "green": (125, 0.70, 0.72),
    "blue": (215, 0.80, 0.92),
    "purple": (275, 0.65, 0.82),
    "pink": (332, 0.50, 1.00),
    "brown": (24, 0.65, 0.52),
    "black": None,
    "white": None,
    "gray": None,
}
COLOUR_NAMES: tuple[str, ...] = tuple(COLOURS)

# Never drawn nor captioned in training, so that evaluation can ask whether noun and colour combine. The first
# eight were held out from starter-100 too; only those compare the two models fairly.
HELD_OUT_PAIRS: tuple[tuple[str, str], ...] = (
    ("cat", "blue"),
    ("horse", "green"),
    ("elephant", "pink"),
    ("banana", "purple"),
    ("rocket", "green"),
    ("rose", "blue"),
    ("house", "purple"),
    ("guitar", "blue"),
    ("mushroom", "green"),
    ("dragon", "orange"),
    ("owl", "pink"),
    ("crown", "red"),
    ("pizza", "blue"),
    ("car", "purple"),
    ("turtle", "orange"),
    ("castle", "pink"),
    ("sword", "red"),
    ("balloon", "brown"),
    ("wolf", "yellow"),
    ("bird", "black"),
    ("book", "orange"),
    ("giraffe", "blue"),
    ("pear", "purple"),
    ("shield", "pink"),
)
PAIRS_HELD_OUT_FROM_BOTH = HELD_OUT_PAIRS[:8]


@dataclass(frozen=True)
class Noun:
    """One thing that can be drawn.

    emoji: its character in Unicode, the key into every picture set.
    names: what captions call it, the plain noun first.
    trial_name: what starter-100 was trained to call it; "" if that model never saw it.
    held_out_names: words that mean it and that no caption uses; evaluation asks for them.
    """

    emoji: str
    names: tuple[str, ...]
    trial_name: str
    held_out_names: tuple[str, ...]

    @property
    def name(self) -> str:
        """The plain noun."""
        return self.names[0]


def read_vocabulary(path: Path = VOCABULARY_FILE, count: int | None = None) -> list[Noun]:
    """Read the first `count` nouns (all if None). Raises ValueError if two nouns share a name."""
    nouns: list[Noun] = []
    owner: dict[str, str] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            names = (row["noun"], *_words(row["other names"]))
            noun = Noun(row["emoji"], names, row["name in starter-100"], _words(row["held-out names"]))
            for name in (*noun.names, *noun.held_out_names):
                if owner.setdefault(name, noun.name) != noun.name:
                    raise ValueError(f"{path.name}: {name!r} names both {owner[name]!r} and {noun.name!r}")
            nouns.append(noun)
    return nouns[:count]


def _words(cell: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in cell.split(",") if word.strip())


def with_article(phrase: str) -> str:
    """ "cat" -> "a cat", "owl" -> "an owl"."""
    return (
        f"an {phrase}"
        if phrase[0] in "aeiou" and not phrase.startswith(("unicorn", "ufo"))
        else f"a {phrase}"
    )
