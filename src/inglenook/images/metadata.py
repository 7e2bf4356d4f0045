# SPDX-License-Identifier: Apache-2.0
"""Every picture carries what it was made with: in our JSON, exactly, and as the text that A1111's tools read.

    PNG      chunk `parameters` (text), chunk `inglenook` (JSON), right after the header
    JPEG     EXIF UserComment (text), XMP `inglenook:parameters` (JSON)
    WebP     the same, as chunks, beside the frames of an animation
    GIF      a comment (text), XMP (JSON), before the first frame

The JSON is `{"inglenook": 1, "parameters": {…}}`, in ASCII, so that every string in it comes back exactly,
whatever it holds.
The text is for other tools: NUL becomes U+FFFD in it, and in a JPEG, whose EXIF block holds 64 KiB,
a very long prompt is cut in it. Nothing here touches a pixel but `encode`.
"""

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from PIL import Image

from inglenook.base.errors import Invalid
from inglenook.images import exif, gif, jpeg, png, webp, xmp
from inglenook.images.infotext import parameters_text, parse_parameters_text
from inglenook.images.model import OutputFormat

Parameters = dict[str, Any]
"""JSON values by name; `images.work` says which."""

SCHEMA = 1
TEXT_KEY = "parameters"
JSON_KEY = "inglenook"
DEFAULT_QUALITY = 92
MEDIA_TYPES: Mapping[OutputFormat, str] = {
    OutputFormat.PNG: "image/png",
    OutputFormat.JPEG: "image/jpeg",
    OutputFormat.WEBP: "image/webp",
}
_MAX_JSON_BYTES = 8 * 1024 * 1024

__all__ = ["MEDIA_TYPES", "Parameters", "embed", "encode", "parameters_text", "parse_parameters_text", "read"]


def embed(data: bytes, media_type: str, parameters: Mapping[str, Any]) -> bytes:
    """The file with these parameters in it, in place of any that it had. Pixels stay as they are, bit by bit.

    Args:
        data: a finished file.
        media_type: `image/png`, `image/jpeg`, `image/webp` or `image/gif`.
        parameters: JSON values; NaN and infinity are none.

    Raises:
        Invalid: another media type; `data` is not such a file; a value that JSON does not have.
    """
    try:
        text = json.dumps({JSON_KEY: SCHEMA, "parameters": dict(parameters)}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Invalid(f"The parameters of a picture cannot be written as JSON: {error}.") from error
    if media_type == "image/png":
        return _embed_png(data, parameters, text)
    if media_type == "image/jpeg":
        return _embed_jpeg(data, parameters, text)
    if media_type == "image/webp":
        block = exif.user_comment_block(_infotext(parameters))
        return webp.with_metadata(data, exif=block, xmp=xmp.packet(text))
    if media_type == "image/gif":
        return gif.with_texts(data, comment=_infotext(parameters), xmp=xmp.packet(text))
    raise Invalid(f"Parameters cannot be written into a file of type {media_type!r}.")


def read(data: bytes) -> Parameters | None:
    """The parameters in a file: from our JSON where it is there, else from A1111's text; None or None.

    Takes any bytes; a file that is broken or of another kind holds no parameters. Never raises.
    """
    try:
        text, packed = _texts(data)
    except Invalid:
        return None
    parameters = None if packed is None else _from_json(packed)
    if parameters is None and text is not None:
        return parse_parameters_text(text)
    return parameters


def encode(
    image_png: bytes, output_format: OutputFormat, quality: int | None, factor: int
) -> tuple[bytes, str]:
    """A drawn picture as the file that is delivered.

    Args:
        image_png: what the worker made, RGB, or RGBA where its background was taken away (never for JPEG).
        quality: 0 to 100 for JPEG and WebP, None for `DEFAULT_QUALITY`; PNG is always lossless.
        factor: whole, at least 1; every pixel becomes `factor` × `factor` equal ones.

    Returns:
        The file, without parameters, and its media type.

    Raises:
        Invalid: `quality` or `factor` out of range.
    """
    if factor < 1:
        raise Invalid(
            f"A picture cannot be enlarged by a factor of {factor}; it is whole, from 1.", field="factor"
        )
    if quality is not None and not 0 <= quality <= 100:
        raise Invalid(f"A quality of {quality} does not exist; it is 0 to 100.", field="output_compression")
    if output_format is OutputFormat.PNG and factor == 1:
        return image_png, MEDIA_TYPES[output_format]
    with Image.open(BytesIO(image_png), formats=["PNG"]) as source:
        image = source.convert("RGBA" if source.mode == "RGBA" else "RGB")
    if factor > 1:
        size = (image.width * factor, image.height * factor)
        image = image.resize(size, Image.Resampling.NEAREST)
    quality = DEFAULT_QUALITY if quality is None else quality
    return _encoded(image, output_format, quality), MEDIA_TYPES[output_format]


def _encoded(image: Image.Image, output_format: OutputFormat, quality: int) -> bytes:
    """From 90 up colour keeps its full resolution: halved, it bleeds over the edges of large pixels."""
    out = BytesIO()
    if output_format is OutputFormat.PNG:
        image.save(out, "PNG", compress_level=4)
    elif output_format is OutputFormat.JPEG:
        image.save(out, "JPEG", quality=quality, subsampling="4:4:4" if quality >= 90 else "4:2:0")
    else:
        image.save(out, "WEBP", quality=quality, method=4)
    return out.getvalue()


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────


def _infotext(parameters: Mapping[str, Any]) -> str:
    return parameters_text(parameters).replace("\0", "\ufffd")


def _embed_png(data: bytes, parameters: Mapping[str, Any], text: str) -> bytes:
    header, *rest = png.chunks(data)
    ours = [png.text_chunk(TEXT_KEY, _infotext(parameters)), png.text_chunk(JSON_KEY, text)]
    return png.join([header, *ours, *(chunk for chunk in rest if not _is_ours(chunk))])


def _is_ours(chunk: png.Chunk) -> bool:
    return chunk.kind in (b"tEXt", b"zTXt", b"iTXt") and chunk.data.partition(b"\0")[0] in (
        TEXT_KEY.encode(),
        JSON_KEY.encode(),
    )


def _embed_jpeg(data: bytes, parameters: Mapping[str, Any], text: str) -> bytes:
    *before, scan = jpeg.segments(data)
    kept = [segment for segment in before if not _holds_metadata(segment)]
    at = 1 if kept and kept[0].marker == jpeg.APP0 else 0  # the JFIF header stays first
    contents = [_jpeg_exif(parameters), *xmp.jpeg_segments(xmp.packet(text))]
    ours = [jpeg.Segment(jpeg.APP1, content, 0) for content in contents]
    return jpeg.join([*kept[:at], *ours, *kept[at:]], data[scan.start :])


def _holds_metadata(segment: jpeg.Segment) -> bool:
    return segment.marker == jpeg.APP1 and (
        segment.data.startswith(exif.JPEG_PREFIX) or xmp.is_jpeg_segment(segment.data)
    )


def _jpeg_exif(parameters: Mapping[str, Any]) -> bytes:
    """The EXIF block; where it is too long for a segment, the longer of the two prompts is cut, so that the
    last line, which tools look for, stays whole."""
    content = exif.JPEG_PREFIX + exif.user_comment_block(_infotext(parameters))
    while len(content) > jpeg.MAX_SEGMENT_BYTES:
        longer = max(("prompt", "negative_prompt"), key=lambda key: len(str(parameters.get(key, ""))))
        whole = str(parameters.get(longer, ""))
        if len(whole) < 2:
            return exif.JPEG_PREFIX + exif.user_comment_block("")
        # A character takes two bytes or four; cutting half of the excess never cuts too much of long ones.
        excess = (len(content) - jpeg.MAX_SEGMENT_BYTES + 3) // 4 + 1
        parameters = {**parameters, longer: whole[: max(0, len(whole) - excess - 1)] + "…"}
        content = exif.JPEG_PREFIX + exif.user_comment_block(_infotext(parameters))
    return content


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────


def _texts(data: bytes) -> tuple[str | None, str | None]:
    """(A1111's text, our JSON) of a file. Raises `Invalid` on one that is broken."""
    if data.startswith(png.SIGNATURE):
        return _texts_of_png(data)
    if data.startswith(jpeg.START):
        return _texts_of_jpeg(data)
    if data[:4] == b"RIFF":
        return _texts_of_webp(data)
    if data.startswith(gif.SIGNATURES):
        comment, packets = gif.texts(data)
        # Most programs leave their name there; what they drew was not asked for by that.
        text = comment if comment is not None and "Steps: " in comment else None
        return text, xmp.json_of(packets)
    return None, None


def _texts_of_png(data: bytes) -> tuple[str | None, str | None]:
    found: dict[str, str] = {}
    for chunk in png.chunks(data):
        if _is_ours(chunk) and (pair := png.text_of(chunk)) is not None:
            found.setdefault(*pair)
    return found.get(TEXT_KEY), found.get(JSON_KEY)


def _texts_of_jpeg(data: bytes) -> tuple[str | None, str | None]:
    contents = [segment.data for segment in jpeg.segments(data) if segment.marker == jpeg.APP1]
    blocks = [
        content.removeprefix(exif.JPEG_PREFIX) for content in contents if content.startswith(exif.JPEG_PREFIX)
    ]
    text = exif.user_comment(blocks[0]) if blocks else None
    return text, xmp.json_of(xmp.from_jpeg_segments(contents))


def _texts_of_webp(data: bytes) -> tuple[str | None, str | None]:
    found: dict[bytes, bytes] = {}
    for chunk in webp.chunks(data):
        found.setdefault(chunk.kind, chunk.data)
    text = exif.user_comment(found.get(b"EXIF", b"").removeprefix(exif.JPEG_PREFIX))
    return text, xmp.json_of(found.get(b"XMP ", b""))


def _from_json(text: str) -> Parameters | None:
    if len(text) > _MAX_JSON_BYTES:
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get(JSON_KEY) != SCHEMA:
        return None
    parameters = document.get("parameters")
    return parameters if isinstance(parameters, dict) else None
