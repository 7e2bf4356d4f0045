# SPDX-License-Identifier: Apache-2.0
"""Other files that a model's options name: found, checked, and written as ids."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from inglenook.base.errors import Invalid
from inglenook.catalog.errors import ModelUnusable
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.catalog.service import CatalogService
from inglenook.chat.model import ModelOptions

NONE: Final = "none"
SUFFIXES: Final = (".jinja", ".jinja2", ".j2")
MAX_TEMPLATE_BYTES: Final = 1_000_000


def with_parts_named(
    model: ModelRecord, options: ModelOptions, changed: frozenset[str], catalog: CatalogService
) -> ModelOptions:
    """`options` with ids for the names of projector, draft and LoRAs, of those that were `changed`. Blocks.

    Raises:
        ModelNotFound, ModelAmbiguous, ModelUnusable: one means nothing, several things, or something that
            cannot be used for this.
        Invalid: the chat template is no such file.
    """
    found = options
    if "mmproj" in changed and options.mmproj not in (None, NONE):
        found = replace(found, mmproj=_part(catalog, str(options.mmproj), ModelKind.PROJECTOR, "mmproj"))
    if "draft" in changed and options.draft not in (None, NONE):
        draft = _part(catalog, str(options.draft), ModelKind.LANGUAGE, "draft")
        if draft == model.id:
            raise ModelUnusable(f"{model.id} cannot be its own draft model.", field="draft")
        found = replace(found, draft=draft)
    if "loras" in changed and options.loras:
        named = tuple((_part(catalog, name, ModelKind.LORA, "loras"), scale) for name, scale in options.loras)
        found = replace(found, loras=named)
    if "chat_template" in changed and options.chat_template is not None:
        found = replace(found, chat_template=_template(model, options.chat_template))
    return found


def _part(catalog: CatalogService, name: str, kind: ModelKind, field: str) -> str:
    record = catalog.resolve_part(name, kind)
    if record.problem is not None:
        fact = record.problem.partition("\nhint: ")[0]
        raise ModelUnusable(f"{record.id} cannot be used: {fact}", field=field)
    return record.id


def _template(model: ModelRecord, written: str) -> str:
    """A file beside the models: nothing else of the disk is ever shown to a process that answers requests."""
    root = model.root.resolve()
    path = (root / Path(written)).resolve()
    if path.suffix not in SUFFIXES or not path.is_relative_to(root) or not path.is_file():
        raise Invalid(
            f"{written[:200]} is no chat template: a file that ends in {', '.join(SUFFIXES)}, in {root}.",
            field="chat_template",
            code="options.invalid",
            hint="put the file beside the model, and name it from there",
        )
    if path.stat().st_size > MAX_TEMPLATE_BYTES:
        raise Invalid(
            f"{written[:200]} is larger than {MAX_TEMPLATE_BYTES} bytes.",
            field="chat_template",
            code="options.invalid",
        )
    return str(path)
