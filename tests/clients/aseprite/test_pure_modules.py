# SPDX-License-Identifier: Apache-2.0
"""The extension's modules that know nothing of Aseprite: JSON, pixels, addresses."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clients.aseprite.host import Aseprite, LuaError, started

JSON = "local json = host.loaded.json "


@pytest.fixture(scope="module")
def lua(extension: Path) -> Iterator[Aseprite]:
    """One for all of this file: pure functions leave nothing behind."""
    with started(extension) as running:
        yield running


def decoded_and_encoded(lua: Aseprite, text: str) -> str:
    answer: bytes = lua.lua(JSON + "return host.blob(json.encode(json.decode(blobs[1])))", text.encode())
    return answer.decode()


VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, min_size=1, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(value=VALUES, ascii_only=st.booleans())
def test_json_comes_back_as_it_went_in(lua: Aseprite, value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert json.loads(decoded_and_encoded(lua, text)) == value


def test_json_reads_escapes_pairs_and_lone_halves(lua: Aseprite) -> None:
    assert json.loads(decoded_and_encoded(lua, r'["caf\u00e9", "\ud83d\ude00", "\ud83d", "\/\b\f"]')) == [
        "café",
        "😀",
        "\ufffd",
        "/\b\f",
    ]


def test_null_keeps_its_place_in_an_array_and_is_no_field_of_an_object(lua: Aseprite) -> None:
    assert decoded_and_encoded(lua, '{"a": null, "b": [null, 1, null]}') == '{"b":[null,1,null]}'


def test_an_empty_array_stays_an_array(lua: Aseprite) -> None:
    assert decoded_and_encoded(lua, '{"a": [], "b": {}}') == '{"a":[],"b":{}}'


def test_text_that_is_not_utf8_is_made_so(lua: Aseprite) -> None:
    answer = lua.lua(JSON + 'return host.blob(json.encode("a\\xFFb"))')
    assert answer.decode() == '"a\ufffdb"'


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1,", '{"a"}', '{"a":1,}', "[1 2]", "nul", "01", "1.", ".5", "+1", '"a', '"\n"', '"\\x"',
     '"\\u12"', "[]]", '{1:2}', "NaN", "-", "[" * 200 + "]" * 200],
)  # fmt: skip
def test_what_is_no_json_is_refused_with_its_place(lua: Aseprite, text: str) -> None:
    with pytest.raises(LuaError, match="JSON, line 1, byte"):
        decoded_and_encoded(lua, text)


def test_json_has_no_functions_and_no_infinity(lua: Aseprite) -> None:
    for value in ("print", "math.huge", "0/0", "{[1.5]=1}"):
        with pytest.raises(LuaError):
            lua.lua(JSON + f"return json.encode({value})")


def test_reading_takes_time_that_grows_with_the_text(lua: Aseprite) -> None:
    """The original took 10 s for the reply of 256 x 256 and four times the time for twice the text."""
    text = json.dumps(
        {"image": "QUJD" * 2_000_000, "words": [{"name": "café \u2603", "n": i} for i in range(20_000)]}
    )
    spent = "local began = os.clock() json.decode(blobs[1]) return os.clock() - began"  # of the processor
    assert lua.lua(JSON + spent, text.encode()) < 20


# Pixels


def picture(width: int, height: int, seed: int = 0) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    pixels[..., 3] = np.where(pixels[..., 3] < 128, 0, 255)
    return pixels


@pytest.mark.parametrize("stride", [20, 24, 32])
def test_rows_are_padded_and_taken_apart_again(lua: Aseprite, stride: int) -> None:
    data = picture(5, 3).tobytes()
    padded = lua.lua(f"return host.blob(host.loaded.pixels.padded(blobs[1], 5, 3, 4, {stride}))", data)
    assert len(padded) == stride * 3
    assert [padded[row * stride : row * stride + 20] for row in range(3)] == [
        data[i * 20 : i * 20 + 20] for i in range(3)
    ]
    back = lua.lua(f"return host.blob(host.loaded.pixels.unpadded(blobs[1], 5, 3, 4, {stride}))", padded)
    assert back == data


def test_gray_is_the_luma_of_bt709(lua: Aseprite) -> None:
    pixels = picture(16, 9)
    got = np.frombuffer(
        lua.lua("return host.blob(host.loaded.pixels.gray(blobs[1]))", pixels.tobytes()), np.uint8
    )
    rgb = pixels[..., :3].astype(int)
    expected = (rgb @ np.array([2126, 7152, 722])) // 10000
    assert (got.reshape(9, 16, 2)[..., 0] == expected).all()
    assert (got.reshape(9, 16, 2)[..., 1] == pixels[..., 3]).all()


def test_colours_of_the_palette_are_found_exactly_and_others_take_their_nearest(lua: Aseprite) -> None:
    """Entry 0 is what is transparent: it is never a colour, even where its colour is asked for."""
    palette = [(0, 0, 0), (255, 0, 0), (0, 0, 255), (10, 10, 10)]
    data = bytes([255, 0, 0, 255, 0, 0, 255, 255, 0, 0, 0, 255, 9, 9, 9, 0, 250, 5, 5, 255, 0, 0, 0, 0])
    colors = ", ".join(f"[{i}]={r << 16 | g << 8 | b}" for i, (r, g, b) in enumerate(palette))
    got = lua.lua(
        f"local bytes, strangers = host.loaded.pixels.indexed(blobs[1], {{{colors}}}, 0)"
        " return {bytes = host.blob(bytes), strangers = strangers}",
        data,
    )
    assert list(got["bytes"]) == [1, 2, 3, 0, 1, 0]
    assert got["strangers"] == 2


def test_colours_are_listed_once_in_their_order(lua: Aseprite) -> None:
    data = bytes([1, 2, 3, 255, 9, 9, 9, 0, 4, 5, 6, 255, 1, 2, 3, 255])
    assert lua.lua("return host.loaded.pixels.colors(blobs[1]).order", data) == [0x010203, 0x040506]


# Addresses


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("", "ws://127.0.0.1:8190/pixel/ws"),
        (" 127.0.0.1:8190 ", "ws://127.0.0.1:8190/pixel/ws"),
        ("localhost", "ws://localhost:8190/pixel/ws"),
        ("http://studio.lan:9000/", "ws://studio.lan:9000/pixel/ws"),
        ("http://studio.lan", "ws://studio.lan:80/pixel/ws"),
        ("https://art.example", "wss://art.example:443/pixel/ws"),
        ("https://art.example/nook/", "wss://art.example:443/nook/pixel/ws"),
        ("ws://127.0.0.1:8190/pixel/ws", "ws://127.0.0.1:8190/pixel/ws"),
        ("[::1]:8190", "ws://[::1]:8190/pixel/ws"),
        ("[::1]", "ws://[::1]:8190/pixel/ws"),
    ],
)
def test_addresses_as_people_write_them(lua: Aseprite, typed: str, url: str) -> None:
    assert lua.lua("return (host.loaded.address.socket(blobs[1]))", typed.encode()) == url


@pytest.mark.parametrize("typed", ["ftp://x", "a b", "user@host", "host:99999", "::1", "http://", "ho$t"])
def test_what_is_no_address_is_said(lua: Aseprite, typed: str) -> None:
    assert lua.lua("return (host.loaded.address.socket(blobs[1]))", typed.encode()) is None
    assert lua.lua("return (select(2, host.loaded.address.socket(blobs[1])))", typed.encode()).endswith(".")
