# SPDX-License-Identifier: Apache-2.0
"""A font that has the letters of a word: Pillow's own, else one that this machine has.

Nothing is shipped: a font for Chinese, Japanese and Korean alone has some 16 MB. Where no font has a letter,
`drawable` says so, and whoever draws says it in words instead of drawing boxes.
"""

from functools import lru_cache
from typing import Final

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

FONTS: Final = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "FreeSans.ttf"),
    *("NotoSansCJK-Regular.ttc", "NotoSansCJK-VF.otf.ttc", "NotoSansCJKsc-Regular.otf"),
    *("SourceHanSansSC-Regular.otf", "wqy-microhei.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf"),
    *("DroidSansFallback.ttf", "NanumGothic.ttf", "ipagp.ttf", "TakaoPGothic.ttf", "unifont.otf"),
    *("NotoSansArabic-Regular.ttf", "NotoSansHebrew-Regular.ttf", "NotoSansThai-Regular.ttf"),
    *("NotoSansDevanagari-Regular.ttf", "NotoSansBengali-Regular.ttf", "NotoSansTamil-Regular.ttf"),
    # macOS
    *("Arial Unicode.ttf", "PingFang.ttc", "Hiragino Sans GB.ttc", "AppleSDGothicNeo.ttc"),
    # Windows
    *("segoeui.ttf", "msyh.ttc", "simsun.ttc", "YuGothM.ttc", "msgothic.ttc", "malgun.ttf", "Nirmala.ttf"),
)
"""Files in which letters are looked for, in this order, wherever the system keeps its fonts."""
HINT: Final = "install a font that has them, fonts-noto-cjk for instance"
_NOBODY_S: Final = "\U0010fffe"
"""No character, so no font has it: what is drawn for it is what is drawn for any that is missing."""


def font_for(words: str, size: int) -> Font:
    """The first font that has every letter; Pillow's own where none has."""
    return next((font for font in _fonts(size) if _has_all(font, words)), _fonts(size)[0])


def drawable(words: str) -> bool:
    """Whether a font of this machine has every letter."""
    return any(_has_all(font, words) for font in _fonts(26))


@lru_cache(maxsize=64)
def _fonts(size: int) -> tuple[Font, ...]:
    found: list[Font] = [ImageFont.load_default(size)]
    for name in FONTS:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return tuple(found)


def _has_all(font: Font, words: str) -> bool:
    return all(_has(font, letter) for letter in words if not letter.isspace())


@lru_cache(maxsize=8192)
def _has(font: Font, letter: str) -> bool:
    return letter.isascii() or _drawn(font, letter) != _drawn(font, _NOBODY_S)


def _drawn(font: Font, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)
