# SPDX-License-Identifier: Apache-2.0
"""Words for sprites: presets, styles, motions, and which words a family of models reads; sizes. Pure data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from inglenook.catalog.model import ModelRecord
from inglenook.sprites.errors import BadSprite

HERE: Final = "{prompt}"
PIXEL_ART: Final = "pixel art"
"""A prompt that says so itself is left as it is."""
TINY_PX: Final = 64
"""A model of pictures no larger than this draws sprites as they are: one thing, named by plain words."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A prompt to begin with.

    Attributes:
        title: as a person reads it.
        prompt: for models that read sentences. plain: for those that know single things (`TINY_PX`).
    """

    title: str
    prompt: str
    plain: str


PRESETS: Final[Mapping[str, Preset]] = {
    "animal": Preset(
        "Cute animal", "a small round fox sitting, big eyes, friendly, full body, side view", "a fox"
    ),
    "hero": Preset(
        "Fantasy character",
        "an adventurer with a short sword and a green cloak, full body, standing, front view",
        "a ninja",
    ),
    "robot": Preset(
        "Science fiction robot",
        "a sturdy repair robot with one round lamp eye, full body, front view",
        "a robot",
    ),
    "item": Preset(
        "Magic item", "a glass flask of glowing violet potion with a cork, one object", "a crystal ball"
    ),
    "food": Preset(
        "Food", "a hamburger with cheese and lettuce, one object, three quarter view", "a hamburger"
    ),
    "vehicle": Preset("Vehicle", "a small red racing car, whole, side view", "a red car"),
    "building": Preset(
        "Isometric building", "an isometric cottage with a tiled roof and a chimney", "a house"
    ),
    "nature": Preset("Nature", "an old oak tree with a thick trunk and round crown, whole tree", "a tree"),
    "weapon": Preset("Weapon", "a knight's long sword with a golden hilt, diagonal, one object", "a dagger"),
    "monster": Preset("Monster", "a green dragon with folded wings, full body, side view", "a dragon"),
    "tile": Preset(
        "Ground tile", "a seamless top-down texture of grass with a few small stones", "a green leaf"
    ),
}


@dataclass(frozen=True, slots=True)
class SpriteStyle:
    """Attributes:
    title: as a person reads it.
    prompt: `{prompt}` stands in it once.
    suggests: fields of a recipe that go with it, as a form may fill them; no request gets them by itself.
    """

    title: str
    prompt: str
    suggests: Mapping[str, Any] = field(default_factory=dict)


STYLES: Final[Mapping[str, SpriteStyle]] = {
    "8-bit": SpriteStyle(
        "8-bit console", "{prompt}, pixel art, 8-bit console sprite, few flat colours", {"colors": 8}
    ),
    "16-bit": SpriteStyle(
        "16-bit console", "{prompt}, pixel art, 16-bit console sprite, shaded, crisp outline", {"colors": 24}
    ),
    "four-tones": SpriteStyle(
        "Four tones", "{prompt}, pixel art, monochrome handheld console sprite, four tones", {"colors": 4}
    ),
    "icon": SpriteStyle(
        "Inventory icon",
        "{prompt}, pixel art, game inventory icon, single object, centred, plain background",
        {"colors": 16, "background": "border", "outline": "outside"},
    ),
    "isometric": SpriteStyle(
        "Isometric", "isometric {prompt}, pixel art, isometric game asset, clean edges", {"colors": 24}
    ),
    "top-down": SpriteStyle(
        "Top-down", "top-down view of {prompt}, pixel art, role-playing game asset", {"colors": 16}
    ),
    "portrait": SpriteStyle(
        "Portrait", "portrait of {prompt}, pixel art, dialogue portrait, head and shoulders", {"colors": 32}
    ),
    "line": SpriteStyle(
        "One-bit", "{prompt}, pixel art, one-bit black and white", {"colors": 2, "dither": "bayer-4"}
    ),
}


@dataclass(frozen=True, slots=True)
class Pose:
    """A frame of a motion: words for it, and where the figure stands then compared with the first pose, in
    shares of the drawing's width and height (to the right and down)."""

    words: str
    right: float = 0.0
    down: float = 0.0


@dataclass(frozen=True, slots=True)
class Motion:
    """A cycle of poses. With more frames than poses it is gone through again; with fewer, evenly thinned."""

    title: str
    poses: tuple[Pose, ...]

    def pose(self, frame: int, frames: int) -> Pose:
        count = len(self.poses)
        return self.poses[frame % count] if frames >= count else self.poses[frame * count // frames]


_STEP: Final = 1 / 32
MOTIONS: Final[Mapping[str, Motion]] = {
    "walk": Motion(
        "Walk cycle",
        (
            Pose("walking, side view, right leg forward, left leg back, contact"),
            Pose("walking, side view, right leg bearing the weight, body low", down=_STEP),
            Pose("walking, side view, left leg passing the right leg", down=-_STEP),
            Pose("walking, side view, pushing off with the right foot, body high", down=-_STEP),
            Pose("walking, side view, left leg forward, right leg back, contact"),
            Pose("walking, side view, left leg bearing the weight, body low", down=_STEP),
            Pose("walking, side view, right leg passing the left leg", down=-_STEP),
            Pose("walking, side view, pushing off with the left foot, body high", down=-_STEP),
        ),
    ),
    "idle": Motion(
        "Standing and breathing",
        (
            Pose("standing still, relaxed"),
            Pose("standing still, breathing in", down=-_STEP),
            Pose("standing still, chest raised", down=-_STEP),
            Pose("standing still, breathing out"),
        ),
    ),
    "rotate": Motion(
        "Turn around",
        (
            Pose("seen from the front"),
            Pose("seen from the front left, three quarter view"),
            Pose("seen from the left side"),
            Pose("seen from the back left, three quarter view"),
            Pose("seen from the back"),
            Pose("seen from the back right, three quarter view"),
            Pose("seen from the right side"),
            Pose("seen from the front right, three quarter view"),
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class FamilyWords:
    """What a family of models is told beside the prompt.

    Attributes:
        put: put after a prompt that does not say "pixel art"; "" for nothing.
        negative: for a request that names none.
        poses: whether it understands the words of a motion.
        expect: what a person should know of its animations, as a sentence.
    """

    put: str
    negative: str
    poses: bool
    expect: str


_USUAL_NEGATIVE: Final = "blurry, smooth, antialiased, realistic, photographic, 3d render, low quality"
"""What PixelAI's clients know as the default."""
_EXPECT: Final = (
    "Each frame is drawn over the one before: colours and outline hold together, limbs follow the words only "
    "roughly; expect to redraw some frames by hand."
)
TINY: Final = FamilyWords(
    put="",
    negative="",
    poses=False,
    expect="This small model knows things, not poses: the frames move up and down and differ a little; a "
    "real walk needs a larger model.",
)
CLIP: Final = FamilyWords(
    put=", pixel art, 8bit style, game sprite", negative=_USUAL_NEGATIVE, poses=True, expect=_EXPECT
)
SENTENCES: Final = FamilyWords(
    put=", pixel art game sprite, flat colours, hard edges, plain background",
    negative=_USUAL_NEGATIVE,
    poses=True,
    expect=_EXPECT,
)
_BY_FAMILY: Final[Mapping[str, FamilyWords]] = {
    "sd1": CLIP,
    "sd2": CLIP,
    "sdxl": CLIP,
    "sd3": SENTENCES,
    "flux": SENTENCES,
    "qwen-image": SENTENCES,
}


@dataclass(frozen=True, slots=True)
class KnownLora:
    """A LoRA that was made for pixel art, by a part of its name.

    Attributes:
        part: of the name in the catalogue, in lower case, without separators.
        family: that it was trained for. weight: to begin with.
        cell_px: pixels of a drawing that make one of the sprite; None where its author names none.
        source: where a person finds it.
    """

    part: str
    title: str
    family: str
    weight: float
    cell_px: int | None
    source: str


LORAS: Final = (
    KnownLora("pixelartxl", "Pixel Art XL", "sdxl", 1.0, 8, "nerijs/pixel-art-xl"),
    KnownLora(
        "sdxlloraslider.pixelart", "Pixel art slider", "sdxl", 1.0, None, "ntc-ai/SDXL-LoRA-slider.pixel-art"
    ),
)

SIZES: Final = (
    (16, 16), (24, 24), (32, 32), (48, 48), (64, 64), (96, 96), (128, 128), (256, 256),
    (64, 96), (96, 64), (320, 180), (320, 224), (320, 240), (400, 224), (426, 240),
    (640, 360), (640, 480), (854, 480), (896, 504), (960, 540),
)  # fmt: skip
"""(width, height) of sprites to offer; any other may be typed."""
BASE_SIZES: Final = (
    (512, 512), (1024, 1024), (1536, 1536), (2048, 2048),
    (848, 480), (896, 504), (1024, 576), (1600, 900),
)  # fmt: skip
"""(width, height) of drawings to offer."""


def is_tiny(record: ModelRecord) -> bool:
    return record.image is not None and record.image.native_px <= TINY_PX


def words_for(record: ModelRecord) -> FamilyWords:
    return TINY if is_tiny(record) else _BY_FAMILY.get(record.family or "", CLIP)


def known_lora(name: str) -> KnownLora | None:
    """What is known of a LoRA of the catalogue, by its name."""
    plain = name.lower().replace("-", "").replace("_", "").replace(" ", "")
    return next((lora for lora in LORAS if lora.part in plain), None)


def worded(
    prompt: str, record: ModelRecord, *, preset: str | None, style: str | None, plain: bool = False
) -> str:
    """The prompt of a still sprite as this model should read it.

    Args:
        plain: without the words for pixel art.

    Raises:
        BadSprite: no such preset or style; the hint names all.
    """
    words = words_for(record)
    text = prompt.strip()
    if preset is not None:
        found = PRESETS.get(preset)
        if found is None:
            raise _unknown("preset", preset, PRESETS)
        text = text or (found.plain if words is TINY else found.prompt)
    if style is not None:
        if style not in STYLES:
            raise _unknown("style", style, STYLES)
        if text and words is not TINY:
            text = STYLES[style].prompt.replace(HERE, text)
    lacks = bool(text) and not plain and PIXEL_ART not in text.lower()
    return f"{text}{words.put}" if lacks else text


def posed(prompt: str, record: ModelRecord, motion: str | None, frame: int, frames: int) -> tuple[str, Pose]:
    """The prompt of one frame, and its pose. Free words are put to every frame alike."""
    if motion is None:
        return prompt, Pose("")
    known = MOTIONS.get(motion)
    pose = Pose(motion.strip()) if known is None else known.pose(frame, frames)
    told = pose.words if words_for(record).poses else ""
    return (f"{prompt}, {told}" if told else prompt), pose


def as_json() -> dict[str, Any]:
    """All of it, for a form."""
    return {
        "presets": [{"name": name, **asdict(one)} for name, one in PRESETS.items()],
        "styles": [{"name": name, **asdict(one)} for name, one in STYLES.items()],
        "motions": [
            {"name": name, "title": one.title, "poses": [pose.words for pose in one.poses]}
            for name, one in MOTIONS.items()
        ],
        "loras": [asdict(one) for one in LORAS],
        "sizes": [list(size) for size in SIZES],
        "base_sizes": [list(size) for size in BASE_SIZES],
        "negative_prompt": _USUAL_NEGATIVE,
    }


def _unknown(field_name: str, name: str, known: Mapping[str, Any]) -> BadSprite:
    return BadSprite(
        f"There is no {field_name} {name[:80]!r}.",
        field=field_name,
        hint=f"choose one of {', '.join(known)}",
    )
