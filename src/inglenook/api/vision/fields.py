# SPDX-License-Identifier: Apache-2.0
"""The fields of a request for a prediction: types, bounds, and words for what is wrong."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inglenook.api.bodies import known_only
from inglenook.api.openai.fields import in_words
from inglenook.base.errors import Invalid
from inglenook.prediction.model import MAX_PICTURES, MAX_TOP, USUAL_TOP

Picture = Annotated[str, Field(min_length=1)]


class PredictFields(BaseModel):
    """POST /v1/vision/predict.

    `image` or `images`: base64, a data address, the id of a picture of the gallery, or an address to fetch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: Annotated[str, Field(min_length=1, max_length=256)] = "auto"
    top_k: Annotated[int, Field(ge=1, le=MAX_TOP)] = USUAL_TOP
    image: Picture | None = None
    images: Annotated[list[Picture], Field(max_length=MAX_PICTURES)] | None = None

    def pictures(self) -> list[str]:
        return ([] if self.image is None else [self.image]) + list(self.images or ())


def from_json(sent: Mapping[str, Any]) -> PredictFields:
    """Raises Invalid: the first field that is unknown or has a wrong value, by name."""
    fields = _read(sent, strict=True)
    if fields.image is not None and fields.images is not None:
        raise Invalid("image and images exclude each other.", field="images", hint="send one of the two")
    return fields


def from_form(sent: Mapping[str, str]) -> PredictFields:
    """The texts of a form, whose pictures are files. Raises Invalid as `from_json`."""
    for name in ("image", "images"):
        if name in sent:
            raise Invalid(
                f"{name} must be a file in a form.", field=name, hint="give its part a filename, or send JSON"
            )
    return _read(sent, strict=False)


def _read(sent: Mapping[str, Any], *, strict: bool) -> PredictFields:
    values = {name: value for name, value in sent.items() if value is not None}
    known_only(values, PredictFields.model_fields)
    for name, value in values.items():
        if isinstance(value, str) and "\x00" in value:
            raise Invalid(f"{name} holds a NUL character.", field=name)
    try:
        return PredictFields.model_validate(values, strict=strict)
    except ValidationError as error:
        raise in_words(error.errors(include_url=False)[0]) from None
