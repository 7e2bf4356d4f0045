# SPDX-License-Identifier: Apache-2.0
"""What pictures carry, read back by us and, independently, by Pillow."""

import json
import re
import struct
import zlib
from io import BytesIO
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from inglenook.base.errors import Invalid
from inglenook.images import jpeg, png, webp
from inglenook.images.metadata import embed, encode, parameters_text, parse_parameters_text, read
from inglenook.images.model import OutputFormat
from inglenook.wire.schedulers import SCHEDULERS, SIGMAS

NOISE = Image.fromarray(np.random.default_rng(7).integers(0, 256, (16, 24, 3), dtype=np.uint8))
FULL: dict[str, Any] = {
    "software": "inglenook",
    "prompt": "a red fox, best quality",
    "negative_prompt": "blurry",
    "model": "lab/fox",
    "steps": 20,
    "scheduler": "dpm++_2m_karras",
    "guidance_scale": 3.0,
    "seed": 2**63 - 1,
    "width": 512,
    "height": 384,
    "strength": 0.75,
    "drawn_width": 32,
    "nothing": None,
}


def saved(image: Image.Image, format_name: str, **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, format_name, **options)
    return out.getvalue()


FILES = {
    "image/png": saved(NOISE, "PNG"),
    "image/jpeg": saved(NOISE, "JPEG"),
    "image/webp": saved(NOISE, "WEBP"),
    "image/gif": saved(NOISE, "GIF"),
}
FRAMES = [Image.new("RGB", (16, 24), color) for color in ("red", "green", "blue")]
MOVING = {
    f"image/{name.lower()}": saved(
        FRAMES[0], name, save_all=True, append_images=FRAMES[1:], duration=[80, 120, 160], loop=3, **more
    )
    for name, more in (("GIF", {}), ("WEBP", {"lossless": True}))
}
every_type = pytest.mark.parametrize("media_type", list(FILES))


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def text_seen_by_pillow(data: bytes) -> str:
    """The A1111 text as another program finds it: a PNG's text chunk, or the UserComment of EXIF."""
    image = opened(data)
    if image.format == "PNG":
        assert isinstance(image, PngImagePlugin.PngImageFile)
        return str(image.text["parameters"])
    if image.format == "GIF":
        return bytes(image.info["comment"]).decode()
    comment = image.getexif().get_ifd(0x8769)[0x9286]
    assert comment[:8] == b"UNICODE\0"
    return bytes(comment[8:]).decode("utf-16-be")


def xmp_of_a_gif(data: bytes) -> bytes:
    """As the specification of XMP finds it: from the application's name to the 258 bytes of its trailer."""
    begin = data.index(b"XMP DataXMP") + 11
    return data[begin : data.index(b"\x01\xff\xfe\xfd", begin)]


def json_seen_by_pillow(data: bytes) -> Any:
    """Our JSON as another program finds it: a PNG's text chunk, or XMP through an XML parser."""
    image = opened(data)
    if isinstance(image, PngImagePlugin.PngImageFile):
        return json.loads(image.text["inglenook"])
    root = ET.fromstring(xmp_of_a_gif(data) if image.format == "GIF" else image.info["xmp"])
    (node,) = root.iter("{urn:inglenook:picture:1}parameters")
    assert node.text is not None
    return json.loads(node.text)


# in and out


@every_type
def test_parameters_come_back_exactly_and_other_programs_find_them(media_type: str) -> None:
    data = embed(FILES[media_type], media_type, FULL)
    assert read(data) == FULL
    assert json_seen_by_pillow(data) == {"inglenook": 1, "parameters": FULL}
    assert text_seen_by_pillow(data) == parameters_text(FULL)


@every_type
def test_no_pixel_is_touched(media_type: str) -> None:
    before, after = opened(FILES[media_type]), opened(embed(FILES[media_type], media_type, FULL))
    assert (after.format, after.mode, after.size) == (before.format, before.mode, before.size)
    assert after.tobytes() == before.tobytes()


@pytest.mark.parametrize("media_type", list(MOVING))
def test_an_animation_moves_as_it_did(media_type: str) -> None:
    data = embed(MOVING[media_type], media_type, FULL)
    assert read(data) == FULL
    assert json_seen_by_pillow(data) == {"inglenook": 1, "parameters": FULL}
    assert text_seen_by_pillow(data) == parameters_text(FULL)
    moved = []
    for file in (MOVING[media_type], data):
        with Image.open(BytesIO(file)) as image:
            frames = []
            for number in range(image.n_frames):  # type: ignore[attr-defined]
                image.seek(number)
                frames.append((image.convert("RGB").tobytes(), image.info["duration"]))
            moved.append((frames, image.info["loop"]))
    assert len(moved[0][0]) == 3
    assert moved[1] == moved[0]


def test_what_a_gif_says_of_its_program_is_no_prompt() -> None:
    assert read(saved(NOISE, "GIF", comment=b"Created with GIMP")) is None


def test_the_words_of_other_programs_in_a_gif_are_read() -> None:
    found = read(saved(NOISE, "GIF", comment=b"a fox\nSteps: 20, Seed: 7, Size: 64x64"))
    assert found is not None
    assert (found["prompt"], found["steps"], found["seed"]) == ("a fox", 20, 7)


@every_type
def test_embedding_again_replaces_what_was_there(media_type: str) -> None:
    once = embed(FILES[media_type], media_type, FULL)
    other = FULL | {"prompt": "a grey cat ☂"}
    twice = embed(once, media_type, other)
    assert read(twice) == other
    assert twice == embed(FILES[media_type], media_type, other)
    assert b"red fox" not in twice


HARD_PROMPTS = [
    "a fox\nNegative prompt: nothing\nSteps: 1, Sampler: x, CFG scale: 2, Seed: 3",
    "<script>alert('x')</script> & ]]> </inglenook:parameters>",
    "emoji 🦊 and 漢字 and é",
    "tabs\tand\r\nline ends\r",
    "a NUL \0 and a lone surrogate \ud83e in the middle",
    '\\"quotes\\" and \\u0041',
    "",
]


@every_type
@pytest.mark.parametrize("prompt", HARD_PROMPTS)
def test_hard_prompts_come_back_exactly(media_type: str, prompt: str) -> None:
    parameters = FULL | {"prompt": prompt, "negative_prompt": prompt[::-1]}
    data = embed(FILES[media_type], media_type, parameters)
    assert read(data) == parameters
    opened(data)
    assert "Seed: 9223372036854775807" in text_seen_by_pillow(data)


@every_type
@pytest.mark.parametrize("letter", ["a", "é", "字", "🦊"])
def test_a_prompt_of_the_greatest_length_comes_back_exactly(media_type: str, letter: str) -> None:
    parameters = FULL | {"prompt": letter * 32_000, "negative_prompt": letter * 31_000}
    data = embed(FILES[media_type], media_type, parameters)
    assert read(data) == parameters
    assert opened(data).tobytes() == opened(FILES[media_type]).tobytes()
    text = text_seen_by_pillow(data)
    assert text.endswith(parameters_text({key: FULL[key] for key in FULL if "prompt" not in key}).strip())
    if media_type != "image/jpeg":
        assert text == parameters_text(parameters)


def test_in_a_jpeg_a_long_text_is_cut_in_the_prompt_and_fills_its_segment() -> None:
    data = embed(FILES["image/jpeg"], "image/jpeg", FULL | {"prompt": "x" * 40_000})
    text = text_seen_by_pillow(data)
    prompt, negative, last = text.split("\n")
    assert re.fullmatch("x{30000,}…", prompt)
    assert (negative, last) == tuple(parameters_text(FULL).split("\n")[1:])
    sizes = [len(segment.data) for segment in jpeg.segments(data)]
    assert max(sizes) <= jpeg.MAX_SEGMENT_BYTES


def test_a_png_gets_its_chunks_right_after_the_header_with_sound_checksums() -> None:
    data = embed(FILES["image/png"], "image/png", FULL)
    assert [chunk.kind for chunk in png.chunks(data)][:4] == [b"IHDR", b"tEXt", b"tEXt", b"IDAT"]
    at = 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        (crc,) = struct.unpack_from(">I", data, at + 8 + length)
        assert crc == zlib.crc32(data[at + 4 : at + 8 + length])
        at += 12 + length
    assert at == len(data)


def test_text_beyond_latin_1_goes_into_an_international_chunk() -> None:
    kinds = {}
    for prompt in ("café", "狐"):
        data = embed(FILES["image/png"], "image/png", {"prompt": prompt})
        kinds[prompt] = [chunk.kind for chunk in png.chunks(data)][1]
        assert text_seen_by_pillow(data) == prompt
    assert kinds == {"café": b"tEXt", "狐": b"iTXt"}


def test_a_webp_becomes_an_extended_file_that_says_what_is_in_it() -> None:
    for source in (NOISE, NOISE.convert("RGBA")):
        source.putpixel((0, 0), (1, 2, 3, 0) if source.mode == "RGBA" else (1, 2, 3))
        for options in ({"lossless": True}, {"quality": 80}):
            plain = saved(source, "WEBP", **options)
            data = embed(plain, "image/webp", FULL)
            first = next(webp.chunks(data))
            assert first.kind == b"VP8X"
            assert first.data[0] & 0x0C == 0x0C
            assert opened(data).mode == opened(plain).mode == source.mode
            assert opened(data).tobytes() == opened(plain).tobytes()
            assert webp.size(data) == source.size


@every_type
def test_what_is_no_such_file_is_refused(media_type: str) -> None:
    for bad in (b"", b"nonsense", FILES[media_type][:20]):
        with pytest.raises(Invalid):
            embed(bad, media_type, FULL)


def test_another_media_type_and_values_that_json_lacks_are_refused() -> None:
    with pytest.raises(Invalid, match="image/tiff"):
        embed(FILES["image/png"], "image/tiff", FULL)
    for value in (float("nan"), float("inf"), b"bytes", object()):
        with pytest.raises(Invalid, match="JSON"):
            embed(FILES["image/png"], "image/png", {"guidance_scale": value})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
prompts = st.text() | st.text(st.characters(categories=["Cs", "Cc", "So", "Lo", "Lu"]))


@settings(deadline=None)
@given(
    media_type=st.sampled_from(list(FILES)),
    prompt=prompts,
    negative=prompts,
    more=st.dictionaries(st.text(), json_values, max_size=4),
)
def test_any_parameters_come_back_exactly(
    media_type: str, prompt: str, negative: str, more: dict[str, Any]
) -> None:
    parameters = more | {"prompt": prompt, "negative_prompt": negative}
    data = embed(FILES[media_type], media_type, parameters)
    assert read(data) == parameters
    opened(data)


# reading what others wrote


def test_a_png_of_a1111_without_our_json_is_read_from_its_text() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text(
        "parameters",
        "a fox (detailed:1.2), <lora:style:0.8>\nsecond line\nNegative prompt: blurry, low quality\nmore\n"
        "Steps: 28, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 1234, Size: 768x512, Model hash: abc123, "
        'Model: dream_v8, Denoising strength: 0.7, Lora hashes: "style: 1f, other: 2e", Version: v1.9.4',
    )
    assert read(saved(NOISE, "PNG", pnginfo=info)) == {
        "prompt": "a fox (detailed:1.2),\nsecond line",
        "loras": [{"model": "style", "weight": 0.8}],
        "negative_prompt": "blurry, low quality\nmore",
        "steps": 28,
        "scheduler": "dpm++_2m_karras",
        "guidance_scale": 6.5,
        "seed": 1234,
        "width": 768,
        "height": 512,
        "model": "dream_v8",
        "strength": 0.7,
        "software": "v1.9.4",
        "other": {"Model hash": "abc123", "Lora hashes": "style: 1f, other: 2e"},
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_international_and_packed_text_of_other_programs_is_read(compressed: bool) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("parameters", "狐\nSteps: 3, Seed: 4, CFG scale: 5", zip=compressed)
    found = read(saved(NOISE, "PNG", pnginfo=info))
    assert found is not None
    assert (found["prompt"], found["steps"], found["seed"]) == ("狐", 3, 4)


@pytest.mark.parametrize("order", ["utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("format_name", ["JPEG", "WEBP"])
def test_a_users_comment_of_other_programs_is_read_in_either_byte_order(format_name: str, order: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "a fox\nSteps: 3, Seed: 4, CFG scale: 5".encode(order)
    found = read(saved(NOISE, format_name, exif=exif))
    assert found is not None
    assert (found["prompt"], found["steps"]) == ("a fox", 3)


def test_a_text_that_unpacks_to_a_bomb_is_passed_over() -> None:
    header, *rest = png.chunks(FILES["image/png"])
    bomb = png.Chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"a" * 50_000_000))
    assert read(png.join([header, bomb, *rest])) is None


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"x",
        b"RIFF",
        FILES["image/png"][:-1],
        FILES["image/png"],
        FILES["image/jpeg"],
        FILES["image/webp"],
        b"\xff\xd8",
    ],
)
def test_a_file_without_parameters_has_none(bad: bytes) -> None:
    assert read(bad) is None


def with_json(text: str) -> bytes:
    header, *rest = png.chunks(FILES["image/png"])
    return png.join([header, png.text_chunk("inglenook", text), *rest])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"inglenook": 2, "parameters": {}}', '{"inglenook": 1}', "[" * 99_999]
)
def test_json_that_is_not_ours_is_passed_over(text: str) -> None:
    assert read(with_json(text)) is None


@settings(max_examples=300, deadline=None)
@given(
    media_type=st.sampled_from(list(FILES)),
    edits=st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 255)), max_size=6),
)
def test_reading_a_damaged_file_never_raises(media_type: str, edits: list[tuple[int, int]]) -> None:
    damaged = bytearray(embed(FILES[media_type], media_type, FULL))
    for at, value in edits:
        damaged[at % len(damaged)] = value
    found = read(bytes(damaged))
    assert found is None or isinstance(found, dict)


@given(
    data=st.binary(max_size=200),
    start=st.sampled_from([b"", png.SIGNATURE, b"\xff\xd8", b"RIFF\x50\0\0\0WEBP"]),
)
def test_reading_noise_never_raises(data: bytes, start: bytes) -> None:
    found = read(start + data)
    assert found is None or isinstance(found, dict)


# the text of A1111's tools


def test_the_text_has_the_form_that_other_tools_expect() -> None:
    assert parameters_text(FULL) == (
        "a red fox, best quality\n"
        "Negative prompt: blurry\n"
        "Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 3, Seed: 9223372036854775807, Size: 512x384, "
        "Model: lab/fox, Denoising strength: 0.75, Version: inglenook"
    )


def test_what_is_missing_is_left_out() -> None:
    assert parameters_text({"prompt": "a fox"}) == "a fox"
    assert (
        parameters_text({"prompt": "a fox", "negative_prompt": "", "steps": 3, "width": 8})
        == "a fox\nSteps: 3"
    )
    assert parameters_text({"guidance_scale": 0.0, "seed": 0}) == "\nCFG scale: 0, Seed: 0"


@pytest.mark.parametrize(
    "model", ["a, b", "a: b", "line\nbreak", '"quoted"', 'half "quoted"', " padded ", "plain", "ü"]
)
def test_values_that_would_break_the_line_are_quoted(model: str) -> None:
    text = parameters_text({"prompt": "p", "steps": 1, "model": model, "seed": 2})
    assert text.count("\n") == 1
    found = parse_parameters_text(text)
    assert (found["steps"], found["model"], found["seed"]) == (1, model, 2)


def test_every_scheduler_survives_its_a1111_name() -> None:
    for scheduler in SCHEDULERS:
        text = parameters_text({"steps": 1, "scheduler": scheduler})
        assert scheduler not in text
        assert parse_parameters_text(text)["scheduler"] == scheduler


@pytest.mark.parametrize("sigmas", SIGMAS)
def test_every_sigma_schedule_survives_its_a1111_name(sigmas: str) -> None:
    text = parameters_text({"steps": 1, "scheduler": "euler", "sigmas": sigmas})
    assert sigmas not in text
    found = parse_parameters_text(text)
    assert (found["scheduler"], found["sigmas"]) == ("euler", sigmas)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Sampler: DPM++ 2M, Schedule type: Karras", {"scheduler": "dpm++_2m", "sigmas": "karras"}),
        ("Sampler: DPM++ 2M SDE Exponential", {"scheduler": "dpm++_2m_sde", "sigmas": "exponential"}),
        ("Sampler: Euler a, Schedule type: Automatic", {"scheduler": "euler_a"}),
        ("Sampler: PLMS", {"scheduler": "pndm"}),
        ("Sampler: Euler, Schedule type: SGM Uniform", {"scheduler": "euler", "sigmas": "sgm_uniform"}),
        ("Sampler: Mine, Schedule type: Own", {"scheduler": "Mine", "other": {"Schedule type": "Own"}}),
    ],
)
def test_older_and_newer_names_of_samplers_are_read(written: str, meant: dict[str, Any]) -> None:
    found = parse_parameters_text(f"p\nSteps: 3, {written}")
    assert found == {"prompt": "p", "negative_prompt": "", "steps": 3, **meant}


def test_a_prompt_alone_is_a_prompt() -> None:
    for prompt in ("", "a fox", "a fox: red, quick", "one: two\nthree"):
        assert parse_parameters_text(prompt) == {"prompt": prompt, "negative_prompt": ""}


def test_numbers_that_are_none_are_kept_as_text() -> None:
    found = parse_parameters_text("p\nSteps: many, Seed: 1e9, Size: 5 by 5, CFG scale: nan, Sampler: Mine")
    assert found["other"] == {"Steps": "many", "Seed": "1e9", "Size": "5 by 5", "CFG scale": "nan"}
    assert found["scheduler"] == "Mine"


plain_lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r")).filter(
    lambda line: not line.startswith("Negative prompt:")
)
one_or_more = st.lists(plain_lines, min_size=1, max_size=3).map("\n".join)


@given(
    prompt=one_or_more,
    negative=one_or_more,
    model=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    seed=st.integers(0, 2**63 - 1),
    guidance=st.floats(0, 50),
    sampler=st.sampled_from(sorted(SCHEDULERS)),
)
@example(prompt="a\n", negative="b: c, d: e, f: g", model='"', seed=0, guidance=2.3e-308, sampler="euler")
def test_the_text_of_an_ordinary_picture_can_be_parsed_back(
    prompt: str, negative: str, model: str, seed: int, guidance: float, sampler: str
) -> None:
    parameters = {
        "prompt": prompt,
        "negative_prompt": negative,
        "steps": 7,
        "scheduler": sampler,
        "guidance_scale": guidance,
        "seed": seed,
        "width": 64,
        "height": 32,
        "model": model,
    }
    assert parse_parameters_text(parameters_text(parameters)) == parameters


@given(text=st.text())
@example(text=" " * 50_000)
@example(text="Steps: " + '"' * 5000)
def test_parsing_any_text_never_raises(text: str) -> None:
    found = parse_parameters_text(text)
    assert {"prompt", "negative_prompt"} <= found.keys()


def test_loras_and_the_second_pass_are_told_as_other_tools_tell_them() -> None:
    hires = {"width": 1024, "height": 768, "steps": 10, "strength": 0.5, "upscaler": "latent"}
    parameters = {
        "prompt": "a fox",
        "negative_prompt": "",
        "steps": 20,
        "width": 1024,
        "height": 768,
        "loras": [{"model": "lab/style", "weight": 0.8}, {"model": "x", "weight": -1.0}],
        "vae": "fine",
        "clip_skip": 2,
        "hires": {**hires, "first_width": 512, "first_height": 384},
    }
    text = parameters_text(parameters)
    assert text == (
        "a fox <lora:lab/style:0.8> <lora:x:-1>\n"
        "Steps: 20, Size: 512x384, Denoising strength: 0.5, Clip skip: 2, VAE: fine, "
        "Hires upscale: 2, Hires steps: 10, Hires upscaler: Latent"
    )
    assert parse_parameters_text(text) == parameters


@pytest.mark.parametrize(
    ("prompt", "rest", "names"),
    [
        ("a <lora:x> b", "a b", ["x"]),
        ("<lora:a:1:0.5>fox <lora:b:0.25>", "fox", ["a", "b"]),
        ("<lora:x:much> <lora::1> <lora:y", "<lora:x:much> <lora::1> <lora:y", []),
    ],
)
def test_loras_are_taken_out_of_a_prompt_where_they_can_be_read(
    prompt: str, rest: str, names: list[str]
) -> None:
    found = parse_parameters_text(f"{prompt}\nSteps: 3, Seed: 1, CFG scale: 2")
    assert found["prompt"] == rest
    assert [lora["model"] for lora in found.get("loras", [])] == names


# encoding


def test_a_png_that_is_not_enlarged_is_handed_through() -> None:
    assert encode(FILES["image/png"], OutputFormat.PNG, None, 1) == (FILES["image/png"], "image/png")


@pytest.mark.parametrize(
    ("output", "media_type", "tolerance"),
    [
        (OutputFormat.PNG, "image/png", 0),
        (OutputFormat.JPEG, "image/jpeg", 25),
        (OutputFormat.WEBP, "image/webp", 25),
    ],
)
def test_enlarging_makes_every_pixel_a_block(output: OutputFormat, media_type: str, tolerance: int) -> None:
    checks = Image.fromarray((np.indices((4, 6)).sum(0) % 2 * 200).astype(np.uint8)).convert("RGB")
    data, seen_type = encode(saved(checks, "PNG"), output, 100, 16)
    assert seen_type == media_type
    image = opened(data)
    assert image.size == (96, 64)
    assert image.get_format_mimetype() == media_type  # type: ignore[attr-defined]
    expected = np.kron(np.asarray(checks), np.ones((16, 16, 1)))
    assert np.abs(np.asarray(image.convert("RGB")).astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("output", [OutputFormat.JPEG, OutputFormat.WEBP])
def test_a_lower_quality_makes_a_smaller_file(output: OutputFormat) -> None:
    big = saved(NOISE.resize((256, 256), Image.Resampling.BICUBIC), "PNG")
    sizes = [len(encode(big, output, quality, 1)[0]) for quality in (0, 30, 60, 100)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] / 2
    assert len(encode(big, output, None, 1)[0]) < sizes[-1]


def test_a_quality_or_a_factor_out_of_range_is_refused() -> None:
    for quality, factor in ((-1, 1), (101, 1), (None, 0)):
        with pytest.raises(Invalid):
            encode(FILES["image/png"], OutputFormat.JPEG, quality, factor)


@pytest.mark.parametrize("output", list(OutputFormat))
def test_a_picture_goes_through_encoding_and_embedding(output: OutputFormat) -> None:
    data, media_type = encode(FILES["image/png"], output, None, 2)
    assert read(embed(data, media_type, FULL)) == FULL
