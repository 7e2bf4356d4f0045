# SPDX-License-Identifier: Apache-2.0
"""Stage 1: turn the emoji packages into training sprites.

    python -m training.starter.data --packages node_modules --out WORK/data

Reads the npm packages in SETS and KEYWORDS (see README.md for the one npm command), checks that each states
the licence that we rely on, draws each noun in each set at 64 x 64, recolours it, and writes

    sprites.npz     rgba uint8 (S, 64, 64, 4) straight alpha; noun, style, colour int16 (S,); colour -1 = as
    drawn catalog.json    nouns, styles, natural colour of each drawing, keywords, and the licences as found
"""

import argparse
import hashlib
import io
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.starter import pictures
from training.starter.vocabulary import COLOUR_NAMES, HELD_OUT_PAIRS, Noun, read_vocabulary


@dataclass(frozen=True)
class PictureSet:
    """One npm package of pictures, with the licence that its metadata must state."""

    package: str
    spdx: str
    share: float  # of the training pictures of a noun that has all sets
    style: str  # the word that asks for it: "a cat, flat style"
    always_said: bool = False  # its pictures are only shown with the word, or plain prompts would drift to it


# Refused, though its metadata says Apache-2.0: fxemoji. Its own LICENSE.md puts only the code under
# Apache-2.0 and the drawings under CC BY 4.0. Refused as well: twemoji, openmoji, emojione (CC BY, CC BY-SA).
SETS: tuple[PictureSet, ...] = (
    PictureSet("@iconify-json/fluent-emoji-flat", "MIT", 0.56, "flat"),
    PictureSet("@iconify-json/noto", "Apache-2.0", 0.18, "shaded"),
    PictureSet("@iconify-json/noto-v1", "Apache-2.0", 0.10, "blob"),
    PictureSet("@iconify-json/fluent-emoji", "MIT", 0.09, "glossy", always_said=True),
    PictureSet("@iconify-json/fluent-emoji-high-contrast", "MIT", 0.07, "stencil", always_said=True),
)
KEYWORDS: tuple[str, ...] = ("emojilib", "unicode-emoji-json")  # both MIT

# Keywords of emojilib that are true of the picture and useless as a name for it.
NOT_A_NAME = frozenset(Path(__file__).with_name("not-a-name.txt").read_text(encoding="utf-8").split())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--packages", type=Path, required=True, help="the node_modules folder")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--nouns", type=int, default=None, help="take the first N nouns of vocabulary.tsv")
    arguments = parser.parse_args()
    prepare(arguments.packages, arguments.out, read_vocabulary(count=arguments.nouns))


def prepare(packages: Path, out: Path, nouns: list[Noun]) -> None:
    """Write sprites.npz and catalog.json for `nouns` into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    emoji = _read_json(packages / "unicode-emoji-json" / "data-by-emoji.json")
    licences = [checked_licence(packages, item.package, item.spdx) for item in SETS]
    licences += [checked_licence(packages, package, "MIT") for package in KEYWORDS]
    rgba: list[np.ndarray] = []
    labels: list[tuple[int, int, int]] = []
    natural: dict[str, str] = {}
    for style, picture_set in enumerate(SETS):
        icons = _read_json(packages / picture_set.package / "icons.json")
        for index, noun in enumerate(nouns):
            icon = find_icon(icons, emoji[noun.emoji]["name"])
            if icon is None:
                continue
            image = Image.open(io.BytesIO(_rasterise(icon))).convert("RGBA")
            sprite: pictures.Array = np.asarray(image, np.float32) / np.float32(255)
            word, _, _ = pictures.main_colour(sprite)
            if (noun.name, word) in HELD_OUT_PAIRS:
                continue  # this drawing shows a pair that must stay unseen
            natural[f"{index}/{style}"] = word
            rgba.append(sprite)
            labels.append((index, style, -1))
            for colour_index, colour in enumerate(COLOUR_NAMES):
                if colour != word and (noun.name, colour) not in HELD_OUT_PAIRS:
                    rgba.append(pictures.recolour(sprite, colour))
                    labels.append((index, style, colour_index))
    missing = [noun.name for index, noun in enumerate(nouns) if f"{index}/0" not in natural]
    if missing:
        print(f"no drawing in {SETS[0].package} for: {', '.join(missing)}")
    noun_of, style_of, colour_of = np.array(labels, np.int16).T
    stored = (np.stack(rgba).clip(0, 1) * 255 + 0.5).astype(np.uint8)
    np.savez(out / "sprites.npz", rgba=stored, noun=noun_of, style=style_of, colour=colour_of)
    catalog = {
        "nouns": [noun.name for noun in nouns],
        "styles": [item.package for item in SETS],
        "natural_colour": natural,
        "keywords": keywords(packages, nouns),
        "licences": licences,
    }
    (out / "catalog.json").write_text(
        json.dumps(catalog, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    print(
        f"{len(nouns)} nouns, {(colour_of < 0).sum()} drawings, {len(labels)} sprites with recolours -> {out}"
    )


def find_icon(icons: dict[str, Any], unicode_name: str) -> dict[str, Any] | None:
    """Find an icon by the Unicode name of its emoji in an IconifyJSON document; None if the set lacks it."""
    name = re.sub(r"[^a-z0-9]+", "-", unicode_name.lower().replace("’", "")).strip("-")
    if name not in icons["icons"] and name in icons.get("aliases", {}):
        name = icons["aliases"][name]["parent"]
    if name not in icons["icons"]:
        return None
    defaults = {"left": 0, "top": 0, "width": icons.get("width", 16), "height": icons.get("height", 16)}
    return {**defaults, **icons["icons"][name]}


def keywords(packages: Path, nouns: list[Noun]) -> dict[str, list[str]]:
    """emojilib's keywords that name one noun only: single words, rare in emojilib, three a noun."""
    listed = _read_json(packages / "emojilib" / "dist" / "emoji-en-US.json")
    everywhere = Counter(word for words in listed.values() for word in set(words))
    ours = Counter(word for noun in nouns for word in set(listed.get(noun.emoji, [])))
    taken = {word for noun in nouns for name in (*noun.names, *noun.held_out_names) for word in name.split()}
    refused = taken | NOT_A_NAME | set(COLOUR_NAMES) | {"grey"}
    return {
        noun.name: [
            word
            for word in listed.get(noun.emoji, [])
            if re.fullmatch("[a-z]{3,12}", word)
            and word not in refused
            and ours[word] == 1
            and everywhere[word] <= 3
        ][:3]
        for noun in nouns
    }


def checked_licence(packages: Path, package: str, expected: str) -> dict[str, str]:
    """What the package says about its licence. Raises ValueError if that is not what we rely on."""
    document = _read_json(packages / package / "package.json")
    found = {"package": package, "version": document["version"], "package.json": document["license"]}
    info = packages / package / "info.json"
    if info.exists():
        stated = _read_json(info)
        found |= {"info.json": stated["license"]["spdx"], "author": stated["author"]["name"]}
    for file in sorted((packages / package).glob("LICEN[CS]E*")):
        text = file.read_bytes()
        notice = re.search(r"^Copyright.*$", text.decode("utf-8"), re.MULTILINE)
        found |= {"file": file.name, "sha256": hashlib.sha256(text).hexdigest()}
        found |= {"notice": notice.group(0) if notice else ""}
    stated_ids = {found[key] for key in ("package.json", "info.json") if key in found}
    if stated_ids != {expected}:
        raise ValueError(
            f"{package} states {sorted(stated_ids)}, not {expected}: look at it before you train on it"
        )
    return found


def _rasterise(icon: dict[str, Any]) -> bytes:
    """An IconifyJSON icon -> PNG bytes, 64 x 64, transparent."""
    import resvg_py  # only this stage needs it: a machine that trains from prepared data does without

    box = " ".join(str(icon[key]) for key in ("left", "top", "width", "height"))
    side = pictures.RASTER_PX
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box}" '
        f'width="{side}" height="{side}">{icon["body"]}</svg>'
    )
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side))


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
