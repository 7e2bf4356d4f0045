# SPDX-License-Identifier: Apache-2.0
"""The options of a model as fields of a form, and back. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inglenook.base.errors import Invalid
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.chat import options as rules
from inglenook.chat.model import ModelOptions

ANY_KIND = ("pinned", "keep_s", "aliases")
"""Options that models of every kind have."""

TITLES: Mapping[str, tuple[str, ...]] = {
    "Keeping": ("pinned", "keep_s", "aliases"),
    "For requests that do not say": (
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "repeat_penalty",
        "max_tokens",
        "system",
    ),
    "How it is loaded": (
        "context",
        "parallel",
        "gpu_layers",
        "threads",
        "flash_attention",
        "cache_type_k",
        "cache_type_v",
        "mmproj",
        "draft",
        "loras",
        "pooling",
        "task",
        "chat_template",
    ),
}
LABELS: Mapping[str, str] = {
    "pinned": "Never unload it for others",
    "keep_s": "Keep it unused for (s)",
    "aliases": "Further names",
    "temperature": "Temperature",
    "top_p": "Top p",
    "top_k": "Top k",
    "min_p": "Min p",
    "repeat_penalty": "Repeat penalty",
    "max_tokens": "Most tokens of an answer",
    "system": "System prompt",
    "context": "Context (tokens)",
    "parallel": "Conversations at once",
    "gpu_layers": "Layers on the device",
    "threads": "CPU threads",
    "flash_attention": "Flash attention",
    "cache_type_k": "Type of cached keys",
    "cache_type_v": "Type of cached values",
    "mmproj": "Projector",
    "draft": "Draft model",
    "loras": "LoRAs",
    "pooling": "Pooling",
    "task": "Task",
    "chat_template": "Chat template",
}
LONG = frozenset({"system", "loras", "aliases"})
"""Fields of several lines."""
LISTS = frozenset({"loras", "aliases"})


@dataclass(frozen=True, slots=True)
class OptionField:
    """One field. `value`: as it stands in the form; "" where nothing is set. `ids`: what to offer."""

    name: str
    label: str
    kind: str
    says: str
    value: str
    choices: tuple[str, ...]
    least: str
    most: str
    ids: tuple[str, ...]
    error: str


def option_fields(
    record: ModelRecord,
    values: Mapping[str, str],
    records: list[ModelRecord],
    errors: Mapping[str, str] | None = None,
) -> list[tuple[str, list[OptionField]]]:
    """All fields by topic. `values`: as `written`, or as they were typed."""
    names = rules.RULES if record.kind is ModelKind.LANGUAGE else ANY_KIND
    offered = {
        "mmproj": [one.id for one in records if one.kind is ModelKind.PROJECTOR],
        "draft": [one.id for one in records if one.kind is ModelKind.LANGUAGE and one.id != record.id],
    }
    return [
        (
            title,
            [_field(name, values, offered.get(name, []), errors or {}) for name in group if name in names],
        )
        for title, group in TITLES.items()
        if any(name in names for name in group)
    ]


def _field(name: str, values: Mapping[str, str], ids: list[Any], errors: Mapping[str, str]) -> OptionField:
    rule = rules.RULES[name]
    return OptionField(
        name=name,
        label=LABELS[name],
        kind="lines" if name in LONG else rule.kind,
        says=f"{rule.says} {rule.accepts[:1].upper()}{rule.accepts[1:]}.",
        value=values.get(name, ""),
        choices=rule.choices or (("true", "false") if rule.kind == "flag" else ()),
        least="" if rule.least is None else f"{rule.least:g}",
        most="" if rule.most is None else f"{rule.most:g}",
        ids=tuple(str(one) for one in ids),
        error=errors.get(name, ""),
    )


def written(options: ModelOptions) -> dict[str, str]:
    """What is set, as it stands in the fields."""
    found = {}
    for name, value in rules.as_json(options).items():
        if name == "loras":
            found[name] = "\n".join(f"{one['id']} {one['scale']:g}" for one in value)
        elif name == "aliases":
            found[name] = "\n".join(value)
        elif isinstance(value, bool):
            found[name] = "true" if value else "false"
        else:
            found[name] = f"{value:g}" if isinstance(value, float) else str(value)
    return found


def typed(record: ModelRecord, sent: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a form as changes; an empty one clears its option.

    Raises:
        Invalid: a number is not one; `field` names it.
    """
    names = rules.RULES if record.kind is ModelKind.LANGUAGE else ANY_KIND
    return {name: _value(name, sent[name].strip()) for name in names if name in sent}


def _value(name: str, text: str) -> Any:
    kind = rules.RULES[name].kind
    if not text:
        return None
    if kind in ("whole", "number"):
        try:
            return float(text)
        except ValueError:
            raise Invalid(
                f"{LABELS[name]} must be a number; got {text[:40]!r}.", field=name, code="options.invalid"
            ) from None
    if kind == "flag":
        return text == "true"
    if name == "aliases":
        return [line.strip() for line in text.splitlines() if line.strip()]
    if name == "loras":
        return [_adapter(line.strip()) for line in text.splitlines() if line.strip()]
    return text


def _adapter(line: str) -> dict[str, Any]:
    """`id` or `id scale`; an id may hold spaces."""
    name, _, scale = line.rpartition(" ")
    try:
        return {"id": name, "scale": float(scale)} if name else {"id": line}
    except ValueError:
        return {"id": line}
