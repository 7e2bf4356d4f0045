# SPDX-License-Identifier: Apache-2.0
"""The languages that Whisper's models know: codes (ISO 639-1, some 639-3) and names in English. Pure."""

from collections.abc import Sequence
from typing import Final

_TABLE: Final = (
    "af Afrikaans|am Amharic|ar Arabic|as Assamese|az Azerbaijani|ba Bashkir|be Belarusian|bg Bulgarian|"
    "bn Bengali|bo Tibetan|br Breton|bs Bosnian|ca Catalan|cs Czech|cy Welsh|da Danish|de German|el Greek|"
    "en English|es Spanish|et Estonian|eu Basque|fa Persian|fi Finnish|fo Faroese|fr French|gl Galician|"
    "gu Gujarati|ha Hausa|haw Hawaiian|he Hebrew|hi Hindi|hr Croatian|ht Haitian Creole|hu Hungarian|"
    "hy Armenian|id Indonesian|is Icelandic|it Italian|ja Japanese|jw Javanese|ka Georgian|kk Kazakh|"
    "km Khmer|kn Kannada|ko Korean|la Latin|lb Luxembourgish|ln Lingala|lo Lao|lt Lithuanian|lv Latvian|"
    "mg Malagasy|"
    "mi Maori|mk Macedonian|ml Malayalam|mn Mongolian|mr Marathi|ms Malay|mt Maltese|my Burmese|ne Nepali|"
    "nl Dutch|nn Nynorsk|no Norwegian|oc Occitan|pa Punjabi|pl Polish|ps Pashto|pt Portuguese|ro Romanian|"
    "ru Russian|sa Sanskrit|sd Sindhi|si Sinhala|sk Slovak|sl Slovenian|sn Shona|so Somali|sq Albanian|"
    "sr Serbian|su Sundanese|sv Swedish|sw Swahili|ta Tamil|te Telugu|tg Tajik|th Thai|tk Turkmen|tl Tagalog|"
    "tr Turkish|tt Tatar|uk Ukrainian|ur Urdu|uz Uzbek|vi Vietnamese|yi Yiddish|yo Yoruba|yue Cantonese|"
    "zh Chinese"
)
NAMES: Final[dict[str, str]] = dict(row.split(" ", 1) for row in _TABLE.split("|"))
"""Code → name."""
_CODES: Final = {name.lower(): code for code, name in NAMES.items()} | {"javanese": "jw", "jv": "jw"}


def code_of(text: str) -> str | None:
    """The code that a person means: a code in any case, with or without a region (`en-US`), or a name."""
    wanted = text.strip().lower()
    short = wanted.replace("_", "-").partition("-")[0]
    return _CODES.get(wanted) or (short if short in NAMES else _CODES.get(short))


def name_of(code: str) -> str:
    """In lower case, as OpenAI's answers have it; the code itself where it is unknown."""
    return NAMES.get(code, code).lower()


def listed(codes: Sequence[str]) -> str:
    return ", ".join(sorted(codes))
