# SPDX-License-Identifier: Apache-2.0
"""`.aseprite` files, between this program and others.

What is written here is read by ase-parser (tests/data/vendor, MIT), run by the Node.js of Playwright.
The files in tests/data/aseprite were written, and flattened beside them, by the PyPI package aseprite 0.1.0.
"""

import json
import struct
import subprocess
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from inglenook.base.errors import Invalid, TooLarge
from inglenook.pixels.files import Spec, write
from inglenook.pixels.files.aseprite_reader import flattened, read_aseprite
from inglenook.pixels.files.spec import Tag
from inglenook.testing.parts import require

DATA = Path(__file__).parents[2] / "data"
READ_BY_ASE_PARSER = """
const Aseprite = require(process.argv[1]);
const told = process.argv.slice(2).map((path) => {
  const file = new Aseprite(require("fs").readFileSync(path), path);
  file.parse();
  return {
    size: [file.width, file.height], depth: file.colorDepth, hole: file.paletteIndex,
    palette: file.palette ? file.palette.colors.map((c) => [c.red, c.green, c.blue, c.alpha]) : [],
    layers: file.layers.map((layer) => layer.name), tags: file.tags,
    frames: file.frames.map((frame) => ({ duration: frame.frameDuration, cels: frame.cels.map((cel) =>
      [cel.layerIndex, cel.xpos, cel.ypos, cel.w, cel.h, Array.from(cel.rawCelData)]) })),
  };
});
console.log(JSON.stringify(told));
"""


def sprites(count, colors=5, shape=(9, 7), seed=0):
    """Frames of few colours with holes and empty borders, and their palette."""
    rng = np.random.default_rng(seed)
    palette = rng.permutation(256)[:colors, None].astype(np.uint8).repeat(3, 1) ^ np.uint8([0, 85, 170])
    table = np.concatenate(
        [np.dstack([palette[None], np.full((1, colors), 255, np.uint8)])[0], [[0, 0, 0, 0]]]
    )
    frames = []
    for _ in range(count):
        frame = np.zeros((*shape, 4), np.uint8)
        frame[2:, 1:-1] = table[rng.integers(0, colors + 1, (shape[0] - 2, shape[1] - 2))]
        frames.append(frame)
    return frames, tuple(tuple(map(int, color)) for color in palette)


def mixed(count, shape=(4, 5), seed=0):
    """Frames with any colour and any alpha."""
    return list(np.random.default_rng(seed).integers(1, 256, (count, *shape, 4), dtype=np.uint8))


def read_by_ase_parser(tmp_path, *files):
    spec = find_spec("playwright")
    require(spec is not None, "playwright, which brings Node.js")
    node = Path(spec.origin).parent / "driver" / ("node.exe" if sys.platform == "win32" else "node")
    paths = []
    for number, data in enumerate(files):
        paths.append(tmp_path / f"{number}.aseprite")
        paths[-1].write_bytes(data)
    parser = DATA / "vendor" / "ase-parser" / "Aseprite.js"
    command = [node, "-e", READ_BY_ASE_PARSER, parser, *paths]
    run = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def painted(told, number):
    """What ase-parser read of a frame, as RGBA: its cels over one another, without any blending."""
    width, height = told["size"]
    canvas = np.zeros((height, width, 4), np.uint8)
    for _, x, y, w, h, raw in told["frames"][number]["cels"]:
        if told["depth"] == 8:
            pixels = np.array(told["palette"], np.uint8)[np.array(raw)].reshape(h, w, 4)
        else:
            pixels = np.array(raw, np.uint8).reshape(h, w, 4)
        seen = pixels[..., 3] > 0
        canvas[y : y + h, x : x + w][seen] = pixels[seen]
    return canvas


def test_another_reader_finds_frames_layers_tags_durations_and_palette(tmp_path):
    frames, palette = sprites(4)
    tags = (Tag("walk", 0, 2), Tag("bück", 3, 3, "ping-pong"), Tag("back", 1, 2, "reverse"))
    spec = Spec("aseprite", durations_ms=(50, 100, 65_535, 1), tags=tags, palette=palette, name="héro")
    colourful = mixed(2)
    layered, _ = sprites(3, seed=2)
    indexed, rgba, layers = read_by_ase_parser(
        tmp_path,
        write(frames, spec).data,
        write(colourful, Spec("aseprite")).data,
        write(layered, Spec("aseprite", layers=("ground", "hero", "hat"))).data,
    )

    assert (indexed["size"], indexed["depth"], indexed["hole"]) == ([7, 9], 8, 0)
    assert indexed["palette"] == [[0, 0, 0, 0], *([*color, 255] for color in palette)]
    assert indexed["layers"] == ["héro"]
    assert [frame["duration"] for frame in indexed["frames"]] == [50, 100, 65_535, 1]
    assert [(tag["name"], tag["from"], tag["to"], tag["animDirection"]) for tag in indexed["tags"]] == [
        ("walk", 0, 2, "Forward"),
        ("bück", 3, 3, "Ping-pong"),
        ("back", 1, 2, "Reverse"),
    ]
    for number, frame in enumerate(frames):
        assert (painted(indexed, number) == frame).all()

    assert (rgba["depth"], len(rgba["frames"])) == (32, 2)
    assert all((painted(rgba, number) == frame).all() for number, frame in enumerate(colourful))

    assert layers["layers"] == ["ground", "hero", "hat"]
    assert [cel[0] for cel in layers["frames"][0]["cels"]] == [0, 1, 2]
    top = np.where(
        layered[2][..., 3:] > 0, layered[2], np.where(layered[1][..., 3:] > 0, layered[1], layered[0])
    )
    assert (painted(layers, 0) == top).all()


@pytest.mark.parametrize("name", ["layers", "indexed", "grey"])
def test_documents_of_another_writer_flatten_as_it_flattens_them(name):
    document = read_aseprite((DATA / "aseprite" / f"{name}.aseprite").read_bytes())
    found = np.stack(flattened(document)).astype(int)
    wanted = np.frombuffer((DATA / "aseprite" / f"{name}.rgba").read_bytes(), np.uint8).reshape(found.shape)
    seen = wanted[..., 3] > 0
    assert ((found[..., 3] > 0) == seen).all()
    assert np.abs(found[seen] - wanted[seen]).max() <= 1  # rounding, where layers are half transparent


def test_layers_groups_links_and_tags_of_another_writer_are_understood():
    document = read_aseprite((DATA / "aseprite" / "layers.aseprite").read_bytes())
    shown = {layer.name: layer.visible for layer in document.layers}
    assert shown["in group"]
    assert not shown["not seen"]
    assert not shown["reference"]
    assert document.tags == (Tag("a", 0, 1, "ping-pong"), Tag("b", 2, 2, "reverse"))
    assert [frame.duration_ms for frame in document.frames] == [40, 80, 120]
    assert document.frames[1].cels[0].pixels is document.frames[0].cels[0].pixels


@settings(max_examples=30, deadline=None)
@given(nps.arrays(np.uint8, st.tuples(st.integers(1, 3), st.just(6), st.just(5), st.just(4))))
def test_frames_of_any_pixels_come_back(pictures):
    frames = list(pictures)
    for frame, found in zip(
        frames, flattened(read_aseprite(write(frames, Spec("aseprite")).data)), strict=True
    ):
        seen = frame[..., 3] > 0
        assert (found[seen] == frame[seen]).all()
        assert not found[~seen].any()


def test_255_colours_are_indexed_and_256_are_not():
    for colors, depth in ((255, 8), (256, 32)):
        frames, palette = sprites(1, colors, (40, 40))
        document = read_aseprite(write(frames, Spec("aseprite", palette=palette)).data)
        assert document.depth == depth
        assert [entry[:3] for entry in document.palette if entry[3]] == list(palette)
        assert (flattened(document)[0] == frames[0]).all()


def test_an_empty_frame_stays_empty():
    frames = [np.zeros((3, 3, 4), np.uint8)]
    document = read_aseprite(write(frames, Spec("aseprite")).data)
    assert document.frames[0].cels == ()
    assert not flattened(document)[0].any()


def test_a_palette_alone_can_be_read_from_a_document_too_large_to_flatten():
    frames, palette = sprites(2)
    data = write(frames, Spec("aseprite", palette=palette)).data
    with pytest.raises(TooLarge, match="more than 10 pixels"):
        read_aseprite(data, 10)
    assert len(read_aseprite(data, 10, pictures=False).palette) == len(palette) + 1


def test_one_picture_shown_in_very_many_places_is_refused_before_it_is_laid():
    document = read_aseprite(write(sprites(4)[0], Spec("aseprite")).data)
    with pytest.raises(TooLarge):
        flattened(document, 4 * 63 - 1)
    many = type(document)(
        **{name: getattr(document, name) for name in document.__slots__ if name != "frames"},
        frames=(type(document.frames[0])(100, document.frames[0].cels * 200),),
    )
    with pytest.raises(TooLarge, match="layers"):
        flattened(many, 4 * 63)


def test_a_picture_that_unpacks_to_more_than_it_says_is_refused_without_being_unpacked():
    data = bytearray(write(mixed(1), Spec("aseprite")).data)
    packed = zlib.compress(bytes(4 * 5 * 4))
    at = data.index(zlib.compress(mixed(1)[0].tobytes(), 6))
    data[at : at + len(packed)] = packed  # a whole stream of the right size: read
    assert read_aseprite(bytes(data)).frames[0].cels[0].pixels.shape == (4, 5, 4)
    bomb = zlib.compress(bytes(50_000))
    data[at : at + len(bomb)] = bomb
    with pytest.raises(Invalid, match="unpacks to 81 bytes instead of 80"):
        read_aseprite(bytes(data))


def test_frames_out_of_order_and_links_to_nowhere_are_refused_or_empty():
    header = struct.pack("<IHHHHHI", 0, 0xA5E0, 1, 4, 4, 32, 1).ljust(128, b"\0")

    def document(*chunks):
        body = b"".join(struct.pack("<IH", 6 + len(data), kind) + data for kind, data in chunks)
        return header + struct.pack("<IHHHxxI", 16 + len(body), 0xF1FA, len(chunks), 100, 0) + body

    layer = (0x2004, struct.pack("<HHHHHHB3xH", 1, 0, 0, 0, 0, 0, 255, 1) + b"a")
    linked = (0x2005, struct.pack("<HhhBHh5xH", 0, 0, 0, 255, 1, 0, 9))
    assert read_aseprite(document(layer, linked)).frames[0].cels == ()
    with pytest.raises(Invalid, match="layer 0 of 0"):
        read_aseprite(document(linked))
    raw = (0x2005, struct.pack("<HhhBHh5xHH", 0, 0, 0, 255, 0, 0, 1, 1) + b"abcd")
    with pytest.raises(Invalid, match="two pictures in layer 0"):
        read_aseprite(document(layer, raw, raw))
    with pytest.raises(Invalid, match="257 entries"):
        read_aseprite(document((0x2019, struct.pack("<III8x", 257, 0, 256))))
    huge = (0x2005, struct.pack("<HhhBHh5xHH", 0, 0, 0, 255, 2, 0, 65_535, 65_535))
    with pytest.raises(TooLarge):
        read_aseprite(document(layer, huge))


@pytest.mark.parametrize("at", range(0, 128, 9))
def test_a_file_that_was_cut_off_is_refused(at):
    data = write(sprites(2)[0], Spec("aseprite")).data
    with pytest.raises(Invalid, match="not a whole Aseprite file"):
        read_aseprite(data[: len(data) * at // 128])


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(data):
    source = data.draw(st.sampled_from(["layers", "indexed", "grey"]))
    whole = bytearray((DATA / "aseprite" / f"{source}.aseprite").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        flattened(read_aseprite(bytes(whole), 1 << 16), 1 << 16)
    except (Invalid, TooLarge) as error:
        assert error.code in ("pixels.unreadable", "pixels.too_large")  # noqa: PT017 - either outcome is right
