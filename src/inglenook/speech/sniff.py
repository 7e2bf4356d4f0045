# SPDX-License-Identifier: Apache-2.0
"""What kind of file a recording is, from its first bytes. Pure. Names and declared types are not asked."""

from typing import Final

from inglenook.speech.errors import BadRecording
from inglenook.wire.speech import Container

HEAD_BYTES: Final = 4096
_TAKEN: Final = "WAV, FLAC, MP3, Ogg, WebM, M4A and MP4 are taken"

_OTHERS: Final = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"GIF8", "a GIF picture"),
    (b"MThd", "a MIDI file, which holds notes and no sound"),
    (b"FORM", "an AIFF file"),
    (b"#EXTM3U", "a playlist, which holds no sound"),
)


def container_of(head: bytes) -> Container:
    """`head`: the first `HEAD_BYTES` of the file, or all of it.

    Raises:
        BadRecording: it is empty, or none of the kinds that are taken.
    """
    if not head:
        raise BadRecording("The file is empty.", code="audio.empty", field="file")
    found = _container(head)
    if found is None:
        raise BadRecording(
            f"The file is {_what(head)}, not a recording.",
            code="audio.unknown_format",
            hint=_TAKEN,
            field="file",
        )
    return found


def _container(head: bytes) -> Container | None:
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"fLaC":
        return "flac"
    if head[:4] == b"OggS":
        return "ogg"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "webm"  # Matroska begins alike
    if head[4:8] in (b"ftyp", b"moov", b"wide"):
        return "mp4"
    return "mp3" if _mp3(head) else None


def _mp3(head: bytes) -> bool:
    """Tags, or a frame's head: eleven set bits, a version, layer III or II, a bit rate and a sample rate."""
    if head[:3] == b"ID3":
        return True
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    return version != 1 and layer in (1, 2) and head[2] >> 4 not in (0, 15) and head[2] >> 2 & 3 != 3


def _what(head: bytes) -> str:
    for start, name in _OTHERS:
        if head.startswith(start):
            return name
    if head[:4] == b"RIFF":
        return "a video in AVI" if head[8:12] == b"AVI " else "of a RIFF kind that is not WAV"
    if b"\0" not in head and _is_text(head):
        return "a text"
    return f"of an unknown kind (it begins with {head[:8].hex(' ')})"


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4  # a character that the end cuts in two
    return True
