# SPDX-License-Identifier: Apache-2.0
"""Names of classes in plots: by a font that has their letters, or else in words."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from inglenook.studio.evaluation import fonts, plots
from inglenook.studio.evaluation.canvas import Sheet
from inglenook.studio.evaluation.figures import aggregate
from inglenook.studio.evaluation.model import Aggregate
from inglenook.testing import parts

NOBODY = "\U0010fffd"
"""A letter that no font has."""


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without any font."""
    monkeypatch.setattr(fonts, "FONTS", ())
    fonts._fonts.cache_clear()
    yield
    fonts._fonts.cache_clear()


def found(*classes: str) -> Aggregate:
    truth = np.array([0, 1] * 8)
    return aggregate(list(classes), truth, np.eye(2)[truth] + 0.1, ["test"] * len(truth))


def width(data: bytes) -> int:
    with Image.open(io.BytesIO(data)) as picture:
        return picture.width


def test_a_word_is_drawn_with_a_font_that_has_its_letters() -> None:
    parts.require(fonts.drawable("кошка"), "needs DejaVu (Debian: apt-get install fonts-dejavu-core)")
    assert fonts.font_for("cat", 26) is fonts.font_for("dog", 26)
    assert fonts.font_for("кошка", 26) is not fonts.font_for("cat", 26)
    drawn = []
    for words in ("кошка", "собак"):
        sheet = Sheet(80, 30)
        sheet.text((4, 4), words)
        drawn.append(sheet.png())
    assert drawn[0] != drawn[1]  # two rows of boxes would be alike


def test_without_such_a_font_a_plot_says_so_in_words_and_draws_the_class_s_number(alone: None) -> None:
    assert not fonts.drawable("猫")
    written = plots._Names.of(["cat", "猫", "犬"])
    assert dict(written.shown) == {"cat": "cat", "猫": "class 1", "犬": "class 2"}
    assert written.told.startswith("2 names are numbers: no font here has their letters; install a font")


def test_every_plot_of_names_without_letters_is_drawn() -> None:
    told = plots._Names.of(["a", NOBODY]).told
    assert told.startswith("1 name is a number")
    for draw in (plots.roc, plots.precision_recall, plots.confusion_matrix):
        assert draw(found("a", NOBODY)) != draw(found("a", "class 1"))  # it says why it is a number
        assert width(draw(found("a", NOBODY))) >= Sheet(1, 1).measure(told, 10)


def test_names_that_can_be_drawn_need_no_words() -> None:
    assert plots._Names.of(["cat", "dog"]).told == ""
