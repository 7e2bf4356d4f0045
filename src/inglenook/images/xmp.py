# SPDX-License-Identifier: Apache-2.0
"""Our JSON as one property of an XMP packet, and how a JPEG carries a packet that is too long for a segment.

A segment of a JPEG file holds 64 KiB. A longer packet is cut into extension segments, each with the MD5 of
the whole, its length and the part's offset; a short main packet names that MD5.
"""

import hashlib
import struct
from collections.abc import Iterable

NAMESPACE = "urn:inglenook:picture:1"
JPEG_MAIN = b"http://ns.adobe.com/xap/1.0/\0"
JPEG_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_PART_BYTES = 65_000
_MAX_PARTS = 1000
_OPEN, _CLOSE = b"<inglenook:parameters>", b"</inglenook:parameters>"


def packet(json_text: str) -> bytes:
    """A packet that holds this JSON, which must be ASCII."""
    return _packet(
        f'xmlns:inglenook="{NAMESPACE}"',
        f"<inglenook:parameters>{_escaped(json_text)}</inglenook:parameters>",
    )


def _escaped(text: str) -> str:
    """As the standard library's `xml.sax.saxutils`, which imports its HTTP clients with it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _packet(attributes: str, content: str) -> bytes:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {attributes}>{content}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


def json_of(data: bytes) -> str | None:
    """The JSON in a packet of ours, or None. Looks for the property's tags; nothing is parsed as XML, so that
    no entity can be expanded."""
    start = data.find(_OPEN)
    end = data.find(_CLOSE, start)
    if start < 0 or end < 0:
        return None
    return _unescaped(data[start + len(_OPEN) : end].decode("utf-8", "replace"))


def jpeg_segments(data: bytes) -> list[bytes]:
    """The contents of the APP1 segments that carry a packet."""
    if len(JPEG_MAIN) + len(data) <= _PART_BYTES:
        return [JPEG_MAIN + data]
    # MD5 is what the format asks for: it joins parts, and protects nothing.
    guid = hashlib.md5(data, usedforsecurity=False).hexdigest().upper()
    note = f'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="{guid}"'
    parts = [
        JPEG_EXTENSION + guid.encode() + struct.pack(">II", len(data), at) + data[at : at + _PART_BYTES]
        for at in range(0, len(data), _PART_BYTES)
    ]
    return [JPEG_MAIN + _packet(note, ""), *parts]


def is_jpeg_segment(content: bytes) -> bool:
    return content.startswith((JPEG_MAIN, JPEG_EXTENSION))


def from_jpeg_segments(contents: Iterable[bytes]) -> bytes:
    """The packets of a file, put together; parts that do not fit each other give noise, without JSON."""
    main: list[bytes] = []
    parts: list[tuple[int, bytes]] = []
    for content in contents:
        if content.startswith(JPEG_MAIN):
            main.append(content[len(JPEG_MAIN) :])
        elif content.startswith(JPEG_EXTENSION) and len(parts) < _MAX_PARTS:
            head = len(JPEG_EXTENSION) + 32
            if len(content) >= head + 8:
                parts.append((int.from_bytes(content[head + 4 : head + 8], "big"), content[head + 8 :]))
    return b"".join(main) + b"".join(part for _, part in sorted(parts))
