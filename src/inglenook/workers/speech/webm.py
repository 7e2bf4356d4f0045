# SPDX-License-Identifier: Apache-2.0
"""Opus out of a WebM file into an Ogg file: what browsers record, for libsndfile, which reads no WebM.

Only the frame around the sound changes; the packets stay as they are. A WebM file (Matroska, RFC 9559) is a
tree of elements: identifier, length, content. This walks through it once, reads what it needs, and never
more of an element than a limit allows. An Ogg file (RFC 3533, RFC 7845) is a row of pages with a checksum.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from inglenook.workers.speech.errors import AudioUnreadable

SEGMENT, CLUSTER, BLOCK_GROUP = 0x18538067, 0x1F43B675, 0xA0
TRACKS, TRACK = 0x1654AE6B, 0xAE
NUMBER, KIND, CODEC, CODEC_PRIVATE = 0xD7, 0x83, 0x86, 0x63A2
SIMPLE_BLOCK, BLOCK = 0xA3, 0xA1
OPENED: Final = frozenset({SEGMENT, CLUSTER, BLOCK_GROUP})
"""What holds the elements that are looked for; everything else is read whole or stepped over."""
AUDIO: Final = 2
LACING: Final = 0b110

MAX_TRACKS_BYTES: Final = 1 << 20
MAX_PACKET_BYTES: Final = 65_025  # 255 segments of 255 bytes: what one page of Ogg can hold
PAGE_PACKETS: Final = 50
SILK_MS, HYBRID_MS, CELT_MS = (10, 20, 40, 60), (10, 20), (2.5, 5, 10, 20)

_MIRRORED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class _Track:
    number: int
    head: bytes  # what an Ogg file of Opus begins with


class _Other(Exception):
    """It is whole as far as was seen, but not Opus in unlaced blocks."""


def opus_to_ogg(source: Path, into: Path) -> bool:
    """Write the first track of sound as Ogg into the new file `into`.

    Returns:
        False where the track is not Opus, or packed in a way that is not read here.

    Raises:
        AudioUnreadable: no WebM, or one that holds no sound.
    """
    try:
        with source.open("rb") as file, into.open("xb") as made:
            track, packets = _open(file, source.stat().st_size)
            _write_ogg(made, track.head, packets)
    except _Other:
        into.unlink(missing_ok=True)
        return False
    return True


def _open(file: BinaryIO, size: int) -> tuple[_Track, Iterator[bytes]]:
    elements = _elements(file, size)
    for identifier, length in elements:
        if identifier == TRACKS:
            track = _track(_content(file, length, MAX_TRACKS_BYTES))
            return track, _packets(file, elements, track.number)
        if identifier in (SIMPLE_BLOCK, BLOCK):
            break
    raise AudioUnreadable("The WebM file does not say what is in it.", hint="it may be cut short or broken")


def _elements(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """Identifier and length of each element, the file standing at its content; then after its end, wherever
    the caller has read to."""
    while True:
        head = _head(file)
        if head is None:
            return
        identifier, length = head
        if identifier in OPENED:
            continue
        if length is None:
            raise _Other
        end = file.tell() + length
        if end > size:
            return  # cut off, or still being written: what came before counts
        yield identifier, length
        file.seek(end)


def _head(file: BinaryIO) -> tuple[int, int | None] | None:
    """An element's identifier, and its length or None where it is open; None at the end of the file."""
    identifier = _number(file, longest=4, keep_marker=True)
    length = None if identifier is None else _number(file, longest=8, keep_marker=False)
    if identifier is None or length is None:
        return None
    value, width = length
    return identifier[0], None if value == (1 << 7 * width) - 1 else value


def _number(file: BinaryIO, *, longest: int, keep_marker: bool) -> tuple[int, int] | None:
    first = file.read(1)
    if not first:
        return None
    width = 9 - first[0].bit_length()
    if width > longest:
        raise AudioUnreadable("The WebM file is broken: a number in it is too long.")
    rest = file.read(width - 1)
    if len(rest) < width - 1:
        return None
    marked = int.from_bytes(first + rest, "big")
    return (marked if keep_marker else marked - (1 << 7 * width)), width


def _content(file: BinaryIO, length: int, limit: int) -> bytes:
    if length > limit:
        raise AudioUnreadable(f"The WebM file is broken: a part of it has {length} bytes.")
    return file.read(length)


def _track(tracks: bytes) -> _Track:
    """The first track of sound."""
    for identifier, content in _children(tracks):
        if identifier != TRACK:
            continue
        fields = dict(_children(content))
        if int.from_bytes(fields.get(KIND, b""), "big") != AUDIO:
            continue
        head = fields.get(CODEC_PRIVATE, b"")
        if fields.get(CODEC, b"").rstrip(b"\0") != b"A_OPUS" or not 19 <= len(head) <= MAX_PACKET_BYTES:
            raise _Other
        return _Track(int.from_bytes(fields.get(NUMBER, b""), "big"), head)
    raise AudioUnreadable("The WebM file holds no sound.")


def _children(content: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(content):
        id_width = 9 - content[at].bit_length()
        identifier = int.from_bytes(content[at : at + id_width], "big")
        at += id_width
        if id_width > 4 or at >= len(content):
            return
        width = 9 - content[at].bit_length()
        if width > 8:
            return
        length = int.from_bytes(content[at : at + width], "big") - (1 << 7 * width)
        at += width
        yield identifier, content[at : at + length]
        at += length


def _packets(file: BinaryIO, elements: Iterator[tuple[int, int]], track: int) -> Iterator[bytes]:
    for identifier, length in elements:
        if identifier not in (SIMPLE_BLOCK, BLOCK):
            continue
        before = file.tell()
        number = _number(file, longest=8, keep_marker=False)
        if number is None or number[0] != track:
            continue
        timing = file.read(3)  # two bytes of time, one of flags
        if len(timing) < 3 or timing[2] & LACING:
            raise _Other
        packet = _content(file, length - (file.tell() - before), MAX_PACKET_BYTES)
        if packet:
            yield packet


def _write_ogg(made: BinaryIO, head: bytes, packets: Iterator[bytes]) -> None:
    serial = 1
    made.write(_page([head], granule=0, serial=serial, number=0, flags=0x02))
    made.write(_page([b"OpusTags" + bytes(8)], granule=0, serial=serial, number=1, flags=0))
    held: list[bytes] = []
    granule, number = 0, 2
    for packet in packets:
        lacing = sum(len(one) // 255 + 1 for one in [*held, packet])
        if len(held) == PAGE_PACKETS or lacing > 255:
            made.write(_page(held, granule=granule, serial=serial, number=number, flags=0))
            held, number = [], number + 1
        held.append(packet)
        granule += samples(packet)
    made.write(_page(held, granule=granule, serial=serial, number=number, flags=0x04))


def _page(packets: list[bytes], *, granule: int, serial: int, number: int, flags: int) -> bytes:
    lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    start = b"OggS\0" + bytes([flags]) + granule.to_bytes(8, "little")
    start += serial.to_bytes(4, "little") + number.to_bytes(4, "little")
    rest = bytes([len(lacing)]) + lacing + b"".join(packets)
    return start + checksum(start + bytes(4) + rest).to_bytes(4, "little") + rest


def checksum(page: bytes) -> int:
    """Ogg's CRC-32 is zlib's with the bits of each byte, and of the result, in the opposite order, begun
    with 0 and not inverted."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def samples(packet: bytes) -> int:
    """How many samples, at 48,000 a second, an Opus packet holds (RFC 6716, section 3)."""
    kind, code = packet[0] >> 3, packet[0] & 3
    if kind < 12:
        frame_ms: float = SILK_MS[kind % 4]
    elif kind < 16:
        frame_ms = HYBRID_MS[kind % 2]
    else:
        frame_ms = CELT_MS[kind % 4]
    frames = (1, 2, 2, packet[1] & 0x3F if len(packet) > 1 else 0)[code]
    return int(frame_ms * 48) * frames
