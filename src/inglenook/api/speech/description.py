# SPDX-License-Identifier: Apache-2.0
"""What /openapi.json says of the routes for speech. Bodies are read by `fields`, not by the framework, so
that every refusal is in our words; this keeps the description true to them."""

from typing import Any

from inglenook.api.errors import SSE_SCHEMA, answer, errors
from inglenook.api.speech.fields import TranscriptionFields, TranslationFields

_TRANSCRIPT: dict[str, Any] = {
    "type": "object",
    "required": ["text"],
    "properties": {
        "text": {"type": "string"},
        "task": {"type": "string", "enum": ["transcribe", "translate"]},
        "language": {"type": "string"},
        "languages": {"type": "array", "items": {"type": "object"}},
        "duration": {"type": "number"},
        "segments": {"type": "array", "items": {"type": "object"}},
        "words": {"type": "array", "items": {"type": "object"}},
        "usage": {"type": "object"},
    },
}


def _described(summary: str, fields: type[TranslationFields], *, streams: bool) -> dict[str, Any]:
    schema = fields.model_json_schema()
    schema["properties"] = {"file": {"type": "string", "format": "binary"}, **schema["properties"]}
    schema["required"] = ["file"]
    found = answer("What was said; with response_format text, srt or vtt as a text.", _TRANSCRIPT)
    found["content"] |= {
        kind: {"schema": {"type": "string"}} for kind in ("text/plain", "text/vtt", "application/x-subrip")
    }
    if streams:
        found["content"]["text/event-stream"] = {"schema": SSE_SCHEMA}
    return {
        "summary": summary,
        "openapi_extra": {
            "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
        },
        "responses": {200: found, **errors(400, 404, 413, 499, 503)},
    }


TRANSCRIPTIONS = _described("What was said in a recording", TranscriptionFields, streams=True)
TRANSLATIONS = _described("What was said in a recording, in English", TranslationFields, streams=False)
