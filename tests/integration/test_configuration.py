# SPDX-License-Identifier: Apache-2.0
"""Settings that are changed while the program runs, over a real database."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inglenook.base.errors import Denied, InglenookError, Invalid
from inglenook.base.ids import OWNER
from inglenook.settings import Settings, load
from inglenook.settings.declaration import is_early
from inglenook.settings.problems import all_keys
from inglenook.settings.sources import Override
from inglenook.store.configuration import Configuration, UnknownSetting
from inglenook.store.database import Database
from inglenook.store.overrides import SettingOverrides
from inglenook.testing.clock import FakeClock

Make = Callable[..., Configuration]


def no_devices_but_the_cpu(wanted: Settings) -> None:
    named = [] if wanted.runtime.devices == "auto" else list(wanted.runtime.devices)
    for device in (*named, *wanted.runtime.budgets):
        if device != "cpu":
            raise Invalid(f"There is no device {device!r} on this machine.", hint="correct it")


def made(database: Database, clock: FakeClock, *, environ: dict[str, str], **flags: Any) -> Configuration:
    """As a fresh start would make it."""
    given = load(file=None, environ=environ, flags=flags.get("flags"))
    overrides = SettingOverrides(database=database, clock=clock)
    kept = {f"{o.section}.{o.key}": Override(o.value, o.person, o.changed_at) for o in overrides.listing()}
    return Configuration(
        given=given, running=given.with_overrides(kept), overrides=overrides, trial=no_devices_but_the_cpu
    )


@pytest.fixture
def start(sqlite: Database, clock: FakeClock) -> Make:
    def begin(environ: dict[str, str] | None = None, **flags: Any) -> Configuration:
        return made(sqlite, clock, environ=environ or {}, **flags)

    return begin


def test_every_setting_is_there_and_no_secret_is_shown(start: Make) -> None:
    secret = {
        "INGLENOOK_SERVER__ADMIN_PASSWORD": "hunter2hunter2",
        "INGLENOOK_STORE__DATABASE_URL": "postgresql://me:pssst@db/x",
    }
    entries = start(secret).entries()
    assert [entry.key for entry in entries] == all_keys()
    assert "hunter2" not in repr(entries)
    assert "pssst" not in repr(entries)
    password = next(entry for entry in entries if entry.key == "server.admin_password")
    assert (password.secret, password.is_set, password.read_only, password.text) == (True, True, True, "")


def test_a_change_counts_after_a_restart_and_says_where_it_comes_from(start: Make, clock: FakeClock) -> None:
    before = start()
    entry = before.put("runtime.idle_unload_s", "120", person=OWNER)
    assert (entry.text, entry.next_text, entry.waits) == ("300", "120", True)
    assert entry.origin == "default"
    assert entry.next_origin.startswith("override by owner at ")
    assert (entry.changed_by, entry.changed_at) == (OWNER, clock.now())
    after = start().entry("runtime.idle_unload_s")
    assert (after.text, after.waits) == ("120", False)


def test_taking_it_back_brings_back_what_the_environment_says(start: Make) -> None:
    environ = {"INGLENOOK_RUNTIME__IDLE_UNLOAD_S": "60"}
    start(environ).put("runtime.idle_unload_s", "120", person=OWNER)
    running = start(environ)
    assert running.entry("runtime.idle_unload_s").text == "120"
    entry = running.clear("runtime.idle_unload_s", person=OWNER)
    assert (entry.text, entry.next_text, entry.changed_at) == ("120", "60", None)
    assert (
        start(environ).entry("runtime.idle_unload_s").origin == "environment INGLENOOK_RUNTIME__IDLE_UNLOAD_S"
    )


def test_the_command_line_counts_more_and_the_page_can_tell(start: Make) -> None:
    running = start(flags={"runtime.idle_unload_s": 42})
    entry = running.put("runtime.idle_unload_s", "120", person=OWNER)
    assert (entry.next_text, entry.next_origin) == ("42", "command line --idle-unload-s")


@pytest.mark.parametrize(
    ("key", "typed", "kept"),
    [
        ("runtime.idle_unload_s", "never", "never"),
        ("language.context", "auto", "auto"),
        ("language.context", 4096, 4096),
        ("images.block_nsfw", "true", True),
        ("outgoing.ports", "80, 443,8443", [80, 443, 8443]),
        ("runtime.budgets", "cpu=2 GiB", {"cpu": "2 GiB"}),
        ("runtime.budgets", {"cpu": 3}, {"cpu": "3 B"}),
        ("models.folders", "/a, /b", ["/a", "/b"]),
        ("server.max_upload_bytes", "64 MiB", "64 MiB"),
    ],
)
def test_what_is_kept_is_what_the_file_would_hold_and_is_read_again(
    start: Make, sqlite: Database, clock: FakeClock, key: str, typed: Any, kept: Any
) -> None:
    entry = start().put(key, typed, person=OWNER)
    [override] = SettingOverrides(database=sqlite, clock=clock).listing()
    assert override.value == kept
    again = start().entry(key)
    assert again.text == entry.next_text
    assert start().put(key, again.text, person=OWNER).next_text == again.text, "what is shown can be typed"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("runtime.idle_unload_s", "soon", "must be a number"),
        ("runtime.idle_unload_s", 0, "must be at least 1"),
        ("runtime.idle_unload_s", None, "must have a value"),
        ("language.flash_attention", "maybe", "must be auto, on or off"),
        ("runtime.devices", "cuda:7", "The server would not start with this: There is no device 'cuda:7'"),
        ("outgoing.ports", "80, 99999", "must be at most 65535"),
        ("models.pinned", ["a"] * 65, "must have at most 64 entries"),
    ],
)
def test_what_may_not_be_is_refused_at_its_key_and_nothing_is_kept(
    start: Make, sqlite: Database, clock: FakeClock, key: str, value: Any, words: str
) -> None:
    with pytest.raises(Invalid) as caught:
        start().put(key, value, person=OWNER)
    assert words in caught.value.message
    assert caught.value.field == key
    assert SettingOverrides(database=sqlite, clock=clock).listing() == []


@pytest.mark.parametrize("key", [key for key in all_keys() if is_early(key)])
def test_what_is_needed_before_the_database_is_not_changed_in_it(start: Make, key: str) -> None:
    with pytest.raises(Denied):
        start().put(key, "1", person=OWNER)
    with pytest.raises(Denied):
        start().clear(key, person=OWNER)


@pytest.mark.parametrize(
    "key", ["runtime.idle_unload", "nothing.at_all", "runtime", "", ".", "runtime.__class__"]
)
def test_an_unknown_key_is_refused_with_the_nearest(start: Make, key: str) -> None:
    with pytest.raises(UnknownSetting) as caught:
        start().put(key, "1", person=OWNER)
    assert caught.value.hint


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(all_keys()), value=json_values)
def test_whatever_is_put_the_next_start_succeeds(
    sqlite: Database, clock: FakeClock, key: str, value: Any
) -> None:
    running = made(sqlite, clock, environ={})
    with contextlib.suppress(InglenookError):  # refused, which is an answer
        running.put(key, value, person=OWNER)
    made(sqlite, clock, environ={}).entries()


def test_a_value_of_another_version_does_not_hide_the_page(
    start: Make, sqlite: Database, clock: FakeClock, tmp_path: Path
) -> None:
    running = start()
    SettingOverrides(database=sqlite, clock=clock).put("runtime", "idle_unload_s", "soon", person=OWNER)
    entry = running.entry("runtime.idle_unload_s")
    assert entry.changed_by == OWNER
    assert running.clear("runtime.idle_unload_s", person=OWNER).next_text == "300"
