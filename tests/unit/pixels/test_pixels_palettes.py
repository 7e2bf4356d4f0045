# SPDX-License-Identifier: Apache-2.0
import math
import re
from pathlib import Path

import pytest

from inglenook.pixels.palettes import builtin

NOTICE = Path(__file__).parents[3] / "NOTICE"
EVERY = pytest.mark.parametrize("palette", builtin().values(), ids=lambda one: one.name)


@EVERY
def test_a_palette_has_a_name_colours_a_source_and_terms(palette):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", palette.name)
    assert palette.title
    assert palette.source
    assert palette.licence
    assert 1 <= len(palette.colors) <= 256
    assert len(set(palette.colors)) == len(palette.colors)
    assert all(0 <= level <= 255 for color in palette.colors for level in color)


@EVERY
def test_what_is_no_fact_about_a_machine_stands_in_the_notice(palette):
    if "facts" not in palette.licence:
        section = NOTICE.read_text("utf-8").split("palettes/builtin.toml")[1].split("\n\n")[0]
        assert palette.title.split(" ")[0].rstrip(",") in section


def test_the_well_known_ones_are_there():
    assert {"pico-8", "game-boy", "cga", "ega", "c64", "nes", "zx-spectrum", "msx", "web-safe"} <= set(
        builtin()
    )
    counts = {name: len(palette.colors) for name, palette in builtin().items()}
    assert (counts["pico-8"], counts["ega"], counts["web-safe"], counts["rgb-332"]) == (16, 64, 216, 256)


def test_a_palette_is_told_as_hexadecimal_words():
    told = builtin()["game-boy-pocket"].as_json()
    assert told["colors"] == ["#000000", "#555555", "#aaaaaa", "#ffffff"]
    assert told["licence"].startswith("none needed")


def test_the_nes_has_the_colours_that_its_signal_decodes_to():
    """Levels in volts as measured on a 2C02 (sync at 0.048 V, black 0.518 V, white 1.962 V); a colour is a
    square wave of twelve phases between a low and a high level; decoded with the FCC's matrix of YIQ.
    """
    lows, highs = (0.350, 0.518, 0.962, 1.550), (1.094, 1.506, 1.962, 1.962)
    colors = []
    for low, high in zip(lows, highs, strict=True):
        for hue in range(14):
            wave = [
                high if hue == 0 or (hue != 13 and (hue + phase) % 12 < 6) else low for phase in range(12)
            ]
            y, i, q = 0.0, 0.0, 0.0
            for phase, volts in enumerate(wave):
                level = (volts - 0.518) / (1.962 - 0.518) / 12
                y += level
                i += 2 * level * math.cos(math.pi * (phase + 3.9) / 6)
                q += 2 * level * math.sin(math.pi * (phase + 3.9) / 6)
            channels = (
                y + 0.946882 * i + 0.623557 * q,
                y - 0.274788 * i - 0.635691 * q,
                y - 1.108545 * i + 1.709007 * q,
            )
            color = tuple(min(255, max(0, round(255 * one))) for one in channels)
            if color not in colors:
                colors.append(color)
    assert tuple(colors) == builtin()["nes"].colors
