# SPDX-License-Identifier: Apache-2.0
"""Settings that people look at and change while the program runs. A change counts from the next start on.

What is kept is what the file would hold. Nothing is kept that would keep the server from starting: the whole
is read first as it will be then.
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args, get_origin

from inglenook.base.errors import Denied, Invalid, NotFound
from inglenook.base.ids import PersonId
from inglenook.settings import Loaded, Settings, SettingsError
from inglenook.settings.declaration import Section, extra_of, is_bytes, is_early, sections
from inglenook.settings.fields import as_plain
from inglenook.settings.pages import accepts
from inglenook.settings.problems import Problem, unknown_section, unknown_setting
from inglenook.settings.sources import Override
from inglenook.store.overrides import SettingOverrides

log = logging.getLogger(__name__)

MAX_VALUE_CHARS = 64 * 1024


class UnknownSetting(NotFound):
    default_code = "settings.unknown"


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting, for people.

    Attributes:
        key: `section.name`.
        text, value: what counts now, as a person writes it and as JSON holds it; "" and None of a secret.
        origin: where that comes from.
        next_text, next_origin: what will count after a restart.
        choices: the only values; empty where there are others.
        kept: what somebody has set in the database, as JSON; `changed_at` is None where nobody has.
        early: needed before the database is open, so that it is changed in the file or the environment.
        is_set: of a secret, whether there is one.
    """

    key: str
    section: str
    name: str
    says: str
    accepts: str
    choices: tuple[str, ...]
    text: str
    value: Any
    origin: str
    next_text: str
    next_origin: str
    default_text: str
    early: bool
    secret: bool
    is_set: bool
    changed_by: str | None = None
    changed_at: datetime | None = None

    @property
    def waits(self) -> bool:
        """Whether another value counts after a restart."""
        return self.text != self.next_text

    @property
    def read_only(self) -> bool:
        return self.early or self.secret


class Configuration:
    """Args:
    given: what file, environment and command line say, without the database.
    running: what counts now.
    trial: raises Invalid where these settings would keep the server from starting. May block.

    Every method blocks, and may be called from any thread.
    """

    def __init__(
        self,
        *,
        given: Loaded,
        running: Loaded,
        overrides: SettingOverrides,
        trial: Callable[[Settings], None],
    ) -> None:
        self._given = given
        self._running = running
        self._overrides = overrides
        self._trial = trial
        self._changing = threading.Lock()

    def entries(self) -> list[Entry]:
        """All, in the order of the declaration."""
        return self._entries()

    def entry(self, key: str) -> Entry:
        """Raises UnknownSetting, with the nearest name."""
        _model_of(key)
        return next(one for one in self._entries() if one.key == key)

    def put(self, key: str, value: Any, *, person: PersonId) -> Entry:
        """Keep `value`, as the file or the environment would write it.

        Raises:
            UnknownSetting: there is no such setting.
            Denied: it is not changed here (early, or a secret).
            Invalid: it may not have this value, or the server would not start with it; `field` is the key.
        """
        section, name = self._changeable(key)
        if isinstance(value, str) and len(value) > MAX_VALUE_CHARS:
            raise Invalid(f"{key} has {len(value)} characters; {MAX_VALUE_CHARS} may be kept.", field=key)
        if value is None:
            raise Invalid(f"{key} must have a value.", field=key, hint="to take a change back, reset it")
        with self._changing:
            asked = Override(value, person, datetime.now(UTC))
            wanted = self._later(_without(self._kept(), key) | {key: asked}, key)
            plain = _plain(wanted.settings, section, name)
            self._overrides.put(section, name, plain, person=person)
        log.info("%s set %s to %s, from the next start on", person, key, _text(plain))
        return self.entry(key)

    def clear(self, key: str, *, person: PersonId) -> Entry:
        """Take back what was kept; what file and environment say counts again, from the next start on.

        Raises as `put`.
        """
        section, name = self._changeable(key)
        with self._changing:
            self._later(_without(self._kept(), key), key)
            gone = self._overrides.clear(section, name)
        if gone:
            log.info("%s took back what was set for %s, from the next start on", person, key)
        return self.entry(key)

    def _changeable(self, key: str) -> tuple[str, str]:
        model = _model_of(key)
        section, _, name = key.partition(".")
        if is_early(key) or extra_of(model, name)["secret"]:
            raise Denied(
                f"{key} is not changed while the server runs.",
                code="settings.read_only",
                hint="set it in config.yaml or in the environment, and restart",
            )
        return section, name

    def _later(self, kept: Mapping[str, Override], key: str) -> Loaded:
        """What counts after a restart with these. Raises Invalid where it would not start."""
        try:
            later = self._given.with_overrides(kept)
            self._trial(later.settings)
        except SettingsError as error:
            what = "; ".join(problem.what for problem in error.problems)
            raise Invalid(f"{what}.", hint=error.hint, field=key, code=error.code) from None
        except Invalid as error:
            text = f"The server would not start with this: {error.message}"
            raise Invalid(text, hint=error.hint, field=key, code=error.code) from None
        return later

    def _kept(self) -> dict[str, Override]:
        listed = self._overrides.listing()
        return {f"{one.section}.{one.key}": Override(one.value, one.person, one.changed_at) for one in listed}

    def _entries(self) -> list[Entry]:
        kept = self._kept()
        try:
            later = self._given.with_overrides(kept)
        except SettingsError:  # somebody else has written what cannot be used; it is seen at its setting
            later = self._running
        return [
            _entry(f"{section}.{name}", model, self._running, later, kept.get(f"{section}.{name}"))
            for section, model in sections().items()
            for name in model.model_fields
        ]


def _without(kept: Mapping[str, Override], key: str) -> dict[str, Override]:
    return {name: value for name, value in kept.items() if name != key}


def _model_of(key: str) -> type[Section]:
    section, _, name = key.partition(".")
    if section not in sections():
        raise _unknown(unknown_section("", section, key[:100]))
    if name not in sections()[section].model_fields:
        raise _unknown(unknown_setting("", section, name, key[:100]))
    return sections()[section]


def _unknown(problem: Problem) -> UnknownSetting:
    return UnknownSetting(f"{problem.what}.", hint=problem.hint, field="key")


def _plain(settings: Settings, section: str, name: str) -> Any:
    """As it is kept: what the file would hold."""
    model = sections()[section]
    value = as_plain(getattr(getattr(settings, section), name), is_bytes=is_bytes(model, name))
    return extra_of(model, name)["none"] if value is None else value


def _entry(key: str, model: type[Section], now: Loaded, later: Loaded, kept: Override | None) -> Entry:
    section, _, name = key.partition(".")
    extra = extra_of(model, name)
    secret = bool(extra["secret"])
    shown, coming = (None, None) if secret else (_plain(one.settings, section, name) for one in (now, later))
    default = model.model_fields[name].get_default(call_default_factory=True)
    default_text = extra["default_text"] or _text(_default(default, model, name))
    return Entry(
        key=key,
        section=section,
        name=name,
        says=str(model.model_fields[name].description),
        accepts=accepts(model, name),
        choices=_choices(model.model_fields[name].annotation),
        text=_text(shown),
        value=shown,
        origin=now.origin[key],
        next_text=_text(coming),
        next_origin=later.origin[key],
        default_text=str(default_text),
        early=bool(extra["early"]),
        secret=secret,
        is_set=getattr(getattr(now.settings, section), name) is not None,
        changed_by=None if kept is None else kept.by,
        changed_at=None if kept is None else kept.at,
    )


def _default(value: object, model: type[Section], name: str) -> Any:
    plain = as_plain(value, is_bytes=is_bytes(model, name))
    return extra_of(model, name)["none"] if plain is None else plain


def _choices(annotation: object) -> tuple[str, ...]:
    if annotation is bool:
        return ("true", "false")
    return tuple(map(str, get_args(annotation))) if get_origin(annotation) is Literal else ()


def _text(value: Any) -> str:
    """As a person writes it on one line; the environment takes the same."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, list):
        parts = [_text(one) for one in value]
        return (
            json.dumps(value)
            if any("," in part or part.startswith("[") for part in parts)
            else ", ".join(parts)
        )
    if isinstance(value, dict):
        return ", ".join(f"{name}={_text(one)}" for name, one in value.items())
    return str(value)
