# SPDX-License-Identifier: Apache-2.0
"""A recording for tests, in several formats; and a speech model as the catalogue would tell of it.

`tests/data/speech/lunch.*`: four and a half seconds, made with the program espeak-ng. The others were made
from the FLAC file with ffmpeg.
"""

from pathlib import Path

from inglenook.base.ids import ModelId
from inglenook.catalog.model import ModelKind, ModelRecord, SpeechFacts

FOLDER = Path(__file__).parent / "data" / "speech"
FLAC = FOLDER / "lunch.flac"
SAID = ("good morning", "walk to the river")
"""What of it the smallest model hears rightly, whatever the format."""
SECONDS = 4.495


def heard(text: str) -> bool:
    """Whether `text` is what was said in it, as far as the smallest model gets."""
    plain = text.lower().replace(".", "").replace(",", "")
    return all(words in plain for words in SAID)


def speech_record(
    path: Path, *, model_id: str = "whisper-tiny.en", languages: tuple[str, ...] = ("en",)
) -> ModelRecord:
    weights = path / "model.bin"
    return ModelRecord(
        id=ModelId(model_id),
        kind=ModelKind.SPEECH,
        family=None,
        path=path,
        layout="folder",
        weights_bytes=weights.stat().st_size if weights.exists() else 75_537_502,
        parameters=37_760_640,
        dtype="float16",
        digest="0" * 64,
        root=path.parent,
        speech=SpeechFacts(engine="faster-whisper", languages=languages),
    )
