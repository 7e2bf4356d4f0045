# SPDX-License-Identifier: Apache-2.0
"""The fields of OpenAI's requests for speech to text: types, bounds, and words for what is wrong.

Nothing is accepted and ignored. A field is honoured, or refused with a message that names it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inglenook.api.bodies import unknown_field
from inglenook.api.openai.fields import in_words
from inglenook.base.errors import Invalid
from inglenook.door.problem import shown
from inglenook.speech.model import (
    MAX_KEYWORD_CHARS,
    MAX_KEYWORDS,
    MAX_PROMPT_CHARS,
    SpeechRequest,
    TextFormat,
)
from inglenook.wire.speech import VoiceActivity

_SPEAKERS = "the models here do not tell speakers apart"

NOT_HERE: Mapping[str, str] = {
    "known_speaker_names": _SPEAKERS,
    "known_speaker_references": _SPEAKERS,
}
"""Fields of OpenAI's that cannot be honoured here, and why."""

Keyword = Annotated[str, Field(min_length=1, max_length=MAX_KEYWORD_CHARS)]
Language = Annotated[str, Field(min_length=1, max_length=40)]


class VoiceActivityField(BaseModel):
    """`chunking_strategy` as an object: how speech is told from silence."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    type: Literal["server_vad"]
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    silence_duration_ms: Annotated[int, Field(ge=0, le=60_000)] = 2000
    prefix_padding_ms: Annotated[int, Field(ge=0, le=10_000)] = 400


class TranslationFields(BaseModel):
    """POST /v1/audio/translations, the text fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())
    lists: ClassVar[tuple[str, ...]] = ()
    """Fields that may be given more than once."""
    elsewhere: ClassVar[Mapping[str, str]] = {
        "language": "the language of the recording is detected, and the text is in English",
        "stream": "translations are not streamed; use /v1/audio/transcriptions",
        "timestamp_granularities": "translations have segments; use /v1/audio/transcriptions for words",
    }

    model: Annotated[str, Field(min_length=1, max_length=256)] = "auto"
    prompt: Annotated[str, Field(max_length=MAX_PROMPT_CHARS)] = ""
    response_format: TextFormat = "json"
    temperature: Annotated[float, Field(ge=0, le=1)] = 0.0

    def request(self) -> SpeechRequest:
        return SpeechRequest(task="translate", prompt=self.prompt, temperature=self.temperature or None)


class TranscriptionFields(TranslationFields):
    """POST /v1/audio/transcriptions, the text fields."""

    lists: ClassVar[tuple[str, ...]] = ("include", "keywords", "languages", "timestamp_granularities")
    elsewhere: ClassVar[Mapping[str, str]] = {}

    language: Language | None = None
    languages: Annotated[list[Language], Field(max_length=MAX_KEYWORDS)] = []
    keywords: Annotated[list[Keyword], Field(max_length=MAX_KEYWORDS)] = []
    timestamp_granularities: list[Literal["word", "segment"]] = []
    include: list[Literal["logprobs"]] = []
    chunking_strategy: Literal["auto"] | VoiceActivityField | None = None
    stream: bool = False

    def request(self) -> SpeechRequest:
        return SpeechRequest(
            language=self.language,
            languages=tuple(self.languages),
            prompt=self.prompt,
            keywords=tuple(self.keywords),
            temperature=self.temperature or None,
            words="word" in self.timestamp_granularities,
            voice_activity=_voice_activity(self.chunking_strategy),
        )


def _voice_activity(asked: Literal["auto"] | VoiceActivityField | None) -> VoiceActivity | None:
    if asked is None:
        return None
    if isinstance(asked, str):
        return VoiceActivity()
    return VoiceActivity(
        threshold=asked.threshold, silence_ms=asked.silence_duration_ms, padding_ms=asked.prefix_padding_ms
    )


F = TypeVar("F", bound=TranslationFields)


def read(fields: type[F], sent: Mapping[str, Sequence[str]]) -> F:
    """The texts of a form as `fields`.

    Raises:
        Invalid: the first field that is unknown, given twice or has a wrong value, by name.
    """
    values = _values(fields, sent)
    if values.get("response_format") == "diarized_json":
        raise Invalid(
            "response_format is diarized_json, which cannot be honoured here.",
            field="response_format",
            code="request.not_supported",
            hint=_SPEAKERS,
        )
    try:
        known = fields.model_validate(values)
    except ValidationError as error:
        raise in_words(_best(error)) from None
    if isinstance(known, TranscriptionFields):
        _check(known)
    return known


def _best(error: ValidationError) -> Any:
    """Of several ways to read a value, the error of the one that was meant."""
    found = error.errors(include_url=False)
    inner = [one for one in found if "VoiceActivityField" in one["loc"] and one["type"] != "model_type"]
    best = (inner or found)[0]
    place = tuple(part for part in best["loc"] if part != "VoiceActivityField" and not _is_choice(part))
    return {**best, "loc": place}


def _is_choice(part: object) -> bool:
    return isinstance(part, str) and part.startswith("literal[")


def _values(fields: type[TranslationFields], sent: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, given in _with_objects(sent).items():
        _check_name(name, fields)
        if any("\x00" in one for one in given if isinstance(one, str)):
            raise Invalid(f"{name} holds a NUL character.", field=name)
        if name in fields.lists:
            values[name] = list(given)
        elif len(given) > 1:
            raise Invalid(f"{shown(name)} is given twice.", field=name, code="request.repeated")
        else:
            values[name] = given[0]
    return values


def _with_objects(sent: Mapping[str, Sequence[str]]) -> dict[str, Sequence[Any]]:
    """`chunking_strategy[threshold]`, as the SDK writes an object into a form, and JSON, as others do."""
    plain: dict[str, Sequence[Any]] = {}
    inner: dict[str, str] = {}
    for name, given in sent.items():
        outer, bracket, key = name.partition("[")
        if outer == "chunking_strategy" and bracket:
            inner[key.removesuffix("]")] = given[-1]
        else:
            plain[name] = given
    given = plain.get("chunking_strategy", ())
    if inner:
        plain["chunking_strategy"] = [*given, inner]
    elif len(given) == 1 and str(given[0]).startswith("{"):
        plain["chunking_strategy"] = [_object(str(given[0]))]
    return plain


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Invalid(
            f"chunking_strategy is not JSON; got {shown(text)}.",
            field="chunking_strategy",
            hint='for instance auto, or {"type": "server_vad", "threshold": 0.5}',
        ) from None


def _check_name(name: str, fields: type[TranslationFields]) -> None:
    if name in fields.model_fields:
        return
    reason = NOT_HERE.get(name) or fields.elsewhere.get(name)
    if reason is not None:
        message = f"{name} cannot be honoured here."
        raise Invalid(message, field=name, hint=reason, code="request.not_supported")
    raise unknown_field(name, [*sorted(fields.model_fields), "file"], among=fields.model_fields)


def _check(fields: TranscriptionFields) -> None:
    """What no single field can tell."""
    if fields.timestamp_granularities and fields.response_format != "verbose_json":
        raise Invalid(
            f"timestamp_granularities needs response_format verbose_json; it is {fields.response_format}.",
            field="timestamp_granularities",
        )
    if fields.include:
        raise Invalid(
            "include holds logprobs, which cannot be given: faster-whisper tells no probability of a token.",
            field="include",
            code="request.not_supported",
            hint="verbose_json has avg_logprob of each segment, and a probability of each word",
        )
    if fields.language is not None and fields.languages:
        raise Invalid(
            "language and languages exclude each other.", field="languages", hint="send one of the two"
        )
    if fields.stream and fields.response_format not in ("json", "text"):
        raise Invalid(
            f"response_format {fields.response_format} is made at the end; a stream tells text as it comes.",
            field="stream",
            hint="leave stream out, or ask for json",
        )
