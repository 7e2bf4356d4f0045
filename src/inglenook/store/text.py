# SPDX-License-Identifier: Apache-2.0
"""Text that every database and every JSON reader accepts, and text as words that can be searched for."""

import re
import unicodedata

_REFUSED = re.compile("[\x00\ud800-\udfff]")
MAX_WORD_CHARS = 64
"""Of a word in the index; longer ones are cut, in what is kept and in what is looked for alike."""
MAX_WORDS = 20_000
_WORD = re.compile(
    # Scripts that are written without spaces: each character is a word of its own.
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003134f]"
    "|[^\\W_\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003134f]+"
)


def storable(text: str) -> str:
    """`text` with each NUL and each lone surrogate, which databases and UTF-8 refuse, as U+FFFD."""
    return _REFUSED.sub("\ufffd", text)


def search_words(text: str) -> list[str]:
    """The words of `text` as they are searched for, in their order: letters and digits alone, without case
    and accents, so that both databases find the same. At most `MAX_WORDS`."""
    decomposed = unicodedata.normalize("NFKD", storable(text)).casefold()
    bare = "".join(char for char in decomposed if unicodedata.category(char) != "Mn")
    bare = unicodedata.normalize("NFC", bare)
    found: list[str] = []
    for match in _WORD.finditer(bare):
        found.append(match[0][:MAX_WORD_CHARS])
        if len(found) == MAX_WORDS:
            break
    return found


def search_document(*texts: str) -> str:
    """The words of all texts, each once, parted by spaces: what an index is made from."""
    return " ".join(dict.fromkeys(word for text in texts for word in search_words(text)))
