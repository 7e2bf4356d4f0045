# SPDX-License-Identifier: Apache-2.0
"""Ollama's names of models (`name:tag`) and ours (paths without suffix)."""

from collections.abc import Iterator
from typing import Final

from inglenook.base.errors import Invalid, NotFound
from inglenook.catalog.errors import ModelAmbiguous, ModelNotFound
from inglenook.catalog.model import LanguageTask, ModelKind, ModelRecord
from inglenook.door.problem import shown
from inglenook.door.services import Catalog, Language

LATEST: Final = "latest"
MAX_NAME_CHARS: Final = 512
_LIBRARIES: Final = ("registry.ollama.ai/library/", "library/")


def listed_name(record: ModelRecord) -> str:
    """As Ollama's clients expect a name: with a tag."""
    return f"{record.id}:{LATEST}"


def find_model(language: Language, catalog: Catalog, name: str) -> ModelRecord:
    """The language model that a client means: our id, an alias, or the last part of an id; with `:latest`,
    or a tag that is the end of the id or the model's quantisation (`SmolLM2-135M-Instruct:q4_1`). Blocks.

    Raises:
        NotFound: there is none of this name.
        Invalid: it is of another kind, or cannot be used.
    """
    record = _find(language, catalog, name)
    if record.problem is not None:
        fact, _, hint = record.problem.partition("\nhint: ")
        raise Invalid(f"Model {record.id} cannot be used: {fact}", hint=hint or None, code="model.unusable")
    if record.kind is not ModelKind.LANGUAGE:
        raise Invalid(
            f"{record.id} is a model of kind {record.kind}; here language models answer.",
            code="model.wrong_kind",
            hint="GET /api/tags lists them",
        )
    return record


def _find(language: Language, catalog: Catalog, name: str) -> ModelRecord:
    missing: NotFound | None = None
    for candidate in spellings(name):
        try:
            return language.find(candidate)
        except ModelAmbiguous:
            raise
        except NotFound as error:
            missing = missing or error
    quantised = _by_quantisation(catalog, name)
    if quantised is not None:
        return quantised
    hint = None if missing is None else missing.hint
    raise ModelNotFound(f"model {shown(name, MAX_NAME_CHARS)} not found", hint=hint, field="model")


def spellings(name: str) -> Iterator[str]:
    """What of ours a client may mean by `name`, the likeliest first."""
    yield name
    for library in _LIBRARIES:
        if name.startswith(library):
            name = name.removeprefix(library)
            yield name
    base, colon, tag = name.rpartition(":")
    if not colon or not base or "/" in tag:
        return
    if tag.lower() == LATEST:
        yield base
        return
    for joint in ("-", ".", "_", "/"):
        yield f"{base}{joint}{tag}"


def _by_quantisation(catalog: Catalog, name: str) -> ModelRecord | None:
    """`base:Q4_K_M`, where one model's name begins with `base` and its header says so. Blocks."""
    base, _, tag = name.rpartition(":")
    if not base:
        return None
    fitting = [
        one
        for one in catalog.list(ModelKind.LANGUAGE)
        if one.language is not None
        and one.language.quantisation.lower() == tag.lower()
        and one.id.rpartition("/")[2].lower().startswith(base.rpartition("/")[2].lower())
    ]
    return fitting[0] if len(fitting) == 1 else None


def require_task(language: Language, record: ModelRecord, doing: str, *tasks: LanguageTask) -> None:
    """Raise Invalid where the model is for something else: `doing` is Ollama's word for what was asked."""
    if language.task_of(record) not in tasks:
        raise Invalid(
            f"{shown(str(record.id))} does not support {doing}",
            code="model.wrong_task",
            hint="POST /api/show tells what it can (`capabilities`)",
        )
