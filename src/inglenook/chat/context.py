# SPDX-License-Identifier: Apache-2.0
"""How many tokens a conversation may have. Pure."""

from typing import Final

from inglenook.base.errors import Invalid
from inglenook.catalog.model import LanguageFacts
from inglenook.chat.model import Choice, Defaults, ModelOptions

UNTOLD: Final = 4096
"""Where a header says nothing."""
AT_ONCE: Final = 2048
"""Of a model that computes a whole text at once and was trained for more: the memory grows with it."""


def chosen_context(
    choices: list[Choice],
    facts: LanguageFacts,
    options: ModelOptions,
    defaults: Defaults,
    *,
    asked: int | None,
    whole: bool,
) -> int:
    """Tokens of one conversation; why stands in `choices` afterwards.

    The model's own option, else the setting, else what it was trained for; more where a request asks for
    more; never more than it was trained for, nor than `language.max_context`.

    Args:
        asked: what a request needs at least.
        whole: a text is computed in one batch.

    Raises:
        Invalid: below 1.
    """
    for name, value in (
        ("context", asked),
        ("context", options.context),
        ("language.context", defaults.context),
    ):
        if value is not None and value < 1:
            raise Invalid(f"{name} must be at least 1 token, not {value}.", field="context")
    native = facts.context or UNTOLD
    wanted, source, reason = _wanted(facts, options, defaults, whole=whole)
    if asked is not None and asked > wanted:
        wanted, source, reason = asked, "request", f"{asked} were asked for"
    tokens = min(wanted, native, defaults.max_context)
    if tokens == native < wanted:
        source = "header"
        reason = f"the model was trained for {native}; {wanted} were asked for"
    elif tokens < wanted:
        source = "settings"
        reason = f"language.max_context is {defaults.max_context}; " + (
            f"the model was trained for {native}" if wanted == native else f"{wanted} were asked for"
        )
    choices.append(Choice("context", tokens, source, reason))
    return tokens


def _wanted(
    facts: LanguageFacts, options: ModelOptions, defaults: Defaults, *, whole: bool
) -> tuple[int, str, str]:
    if options.context is not None:
        return options.context, "model", "as set for this model"
    if defaults.context is not None:
        return defaults.context, "settings", "language.context"
    native = facts.context or UNTOLD
    if whole and facts.causal and native > AT_ONCE:
        reason = (
            f"it reads each text at once, which takes memory for every token; it was trained for {native}"
        )
        return AT_ONCE, "memory", reason
    if not facts.context:
        return UNTOLD, "header", "its header does not say for how many it was trained"
    return native, "header", f"the model was trained for {native}"
