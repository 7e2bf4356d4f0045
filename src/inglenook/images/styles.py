# SPDX-License-Identifier: Apache-2.0
"""Styles by name: words that are put around a prompt, and words for what it should not show. Pure data."""

from dataclasses import dataclass

from inglenook.images.errors import BadRequest

HERE = "{prompt}"


@dataclass(frozen=True, slots=True)
class Style:
    """Attributes:
    title: as a person reads it.
    prompt: ` of {prompt}` stands in it once, where the person's own words go.
    negative_prompt: what is added to the person's own; may be empty.
    """

    title: str
    prompt: str
    negative_prompt: str = ""


STYLES: dict[str, Style] = {
    "photograph": Style(
        "Photograph",
        "photograph of {prompt}, natural light, sharp focus, fine detail",
        "drawing, painting, illustration, render, cartoon",
    ),
    "film": Style(
        "Film still",
        "film still of {prompt}, wide shot, shallow depth of field, film grain, muted colours",
        "drawing, painting, cartoon, flat lighting",
    ),
    "portrait": Style(
        "Studio portrait",
        "studio portrait of {prompt}, soft key light, plain dark background, 85 mm lens",
        "cluttered background, harsh shadows, drawing",
    ),
    "oil": Style(
        "Oil painting",
        "oil painting of {prompt}, visible brush strokes, rich colours, canvas texture",
        "photograph, render, flat colours",
    ),
    "watercolour": Style(
        "Watercolour",
        "watercolour painting of {prompt}, soft washes, paper texture, light bleeding edges",
        "photograph, render, hard outlines",
    ),
    "pencil": Style(
        "Pencil sketch",
        "pencil sketch of {prompt}, graphite on paper, hatching, monochrome",
        "colour, photograph, render",
    ),
    "ink": Style(
        "Ink drawing",
        "ink drawing of {prompt}, clean black lines on white paper, cross-hatching",
        "colour, photograph, grey tones, blurry",
    ),
    "comic": Style(
        "Comic",
        "comic book panel of {prompt}, bold outlines, flat colours, halftone dots",
        "photograph, render, realistic skin",
    ),
    "anime": Style(
        "Anime",
        "anime illustration of {prompt}, clean line art, cel shading, vivid colours",
        "photograph, render, realistic",
    ),
    "storybook": Style(
        "Storybook",
        "storybook illustration of {prompt}, gouache, warm light, gentle shapes",
        "photograph, render, harsh contrast",
    ),
    "render": Style(
        "3D render",
        "3D render of {prompt}, soft studio lighting, smooth materials, ambient occlusion",
        "drawing, sketch, painting, noise",
    ),
    "isometric": Style(
        "Isometric",
        "isometric view of {prompt}, small diorama, clean edges, plain background",
        "perspective distortion, photograph, clutter",
    ),
    "low-poly": Style(
        "Low poly",
        "low poly model of {prompt}, flat shaded triangles, simple colours",
        "photograph, fine texture, noise",
    ),
    "pixel-art": Style(
        "Pixel art",
        "pixel art of {prompt}, small palette, crisp square pixels",
        "photograph, smooth shading, blurry, gradients",
    ),
}


def styled(name: str | None, prompt: str, negative_prompt: str) -> tuple[str, str]:
    """Prompt and negative prompt in the style of that name; as they are where it is None.

    Raises:
        BadRequest: there is no such style; the hint names all.
    """
    if name is None:
        return prompt, negative_prompt
    style = STYLES.get(name)
    if style is None:
        raise BadRequest(
            f"There is no style {name[:80]!r}.", field="style", hint=f"choose one of {', '.join(STYLES)}"
        )
    own = prompt.strip()
    words = style.prompt.replace(HERE, own) if own else style.prompt.replace(f" of {HERE}", "")
    return words, _joined(negative_prompt, style.negative_prompt)


def _joined(own: str, more: str) -> str:
    return f"{own.strip()}, {more}" if own.strip() and more else own or more
