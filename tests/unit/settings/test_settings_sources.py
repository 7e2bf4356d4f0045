# SPDX-License-Identifier: Apache-2.0
"""Which source wins, and what is said about a source that cannot be used."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.settings import Override, Settings, SettingsError, find_file, load
from inglenook.settings.declaration import sections
from inglenook.settings.sources import variable_of

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

LAYERS = ("file", "environment", "override", "flag")
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "runtime.idle_unload_s": st.integers(1, 7 * 86400).map(float),
    "runtime.reserve_bytes": st.integers(0, 1 << 40),
    "runtime.devices": st.sampled_from(["auto", ["cpu"], ["cuda:0", "cpu"]]),
    "runtime.budgets": st.dictionaries(st.sampled_from(["cpu", "cuda:0", "cuda:1"]), st.integers(0, 1 << 40)),
    "jobs.queue_limit": st.integers(1, 100_000),
    "images.default_model": st.sampled_from(["auto", "a/b", "starter"]),
    "models.pinned": st.lists(st.sampled_from(["a/b", "c", "d-e"]), max_size=3),
}


def _write(folder: Path, text: str) -> Path:
    file = folder / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _variable(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _choices(places: set[tuple[str, str]]) -> st.SearchStrategy[dict[tuple[str, str], Any]]:
    return st.fixed_dictionaries({place: VALUES[place[0]] for place in places})


@given(
    drawn=st.sets(st.tuples(st.sampled_from(sorted(VALUES)), st.sampled_from(LAYERS)), max_size=12).flatmap(
        _choices
    )
)
def test_the_last_source_that_names_a_setting_wins_and_is_its_origin(
    tmp_path_factory: pytest.TempPathFactory, drawn: dict[tuple[str, str], Any]
) -> None:
    by_layer: dict[str, dict[str, Any]] = {layer: {} for layer in LAYERS}
    for (key, layer), value in drawn.items():
        by_layer[layer][key] = value
    tree: dict[str, dict[str, Any]] = {}
    for key, value in by_layer["file"].items():
        section, _, name = key.partition(".")
        tree.setdefault(section, {})[name] = value
    file = _write(tmp_path_factory.mktemp("settings"), json.dumps(tree))

    loaded = load(
        file=file,
        environ={variable_of(key): _variable(value) for key, value in by_layer["environment"].items()},
        overrides={key: Override(value, by="owner", at=WHEN) for key, value in by_layer["override"].items()},
        flags=by_layer["flag"],
    )

    starts = {
        "file": "file ",
        "environment": "environment ",
        "override": "override ",
        "flag": "command line ",
    }
    for key in VALUES:
        section, _, name = key.partition(".")
        found = _plain(getattr(getattr(loaded.settings, section), name))
        named = [layer for layer in LAYERS if key in by_layer[layer]]
        if named:
            assert found == by_layer[named[-1]][key]
            assert loaded.origin[key].startswith(starts[named[-1]])
        else:
            assert found == _plain(getattr(getattr(Settings(), section), name))
            assert loaded.origin[key] == "default"


def test_each_origin_is_told_with_its_place(tmp_path: Path) -> None:
    file = _write(tmp_path, "schema_version: 1\n\njobs:\n  # why\n  queue_limit: 5\n")
    loaded = load(
        file=file,
        environ={"INGLENOOK_SERVER__LOG_LEVEL": "debug", "PATH": "/bin"},
        overrides={"jobs.max_active": Override(3, by="owner", at=WHEN)},
        flags={"server.port": 9000},
    )
    assert loaded.origin["jobs.queue_limit"] == f"file {file}:5"
    assert loaded.origin["server.log_level"] == "environment INGLENOOK_SERVER__LOG_LEVEL"
    assert loaded.origin["jobs.max_active"] == "override by owner at 2026-01-02T03:04:05+00:00"
    assert loaded.origin["server.port"] == "command line --port"
    assert loaded.origin["server.host"] == "default"


def test_overrides_read_later_go_above_the_file_and_below_the_command_line(tmp_path: Path) -> None:
    first = load(
        file=_write(tmp_path, "runtime:\n  idle_unload_s: 1\n  aging_s: 1\n"),
        environ={},
        flags={"runtime.aging_s": 2},
    )
    later = first.with_overrides(
        {key: Override(9, by="owner", at=WHEN) for key in ("runtime.idle_unload_s", "runtime.aging_s")}
    )
    assert (later.settings.runtime.idle_unload_s, later.settings.runtime.aging_s) == (9, 2)
    assert first.settings.runtime.idle_unload_s == 1


def _problems(**sources: Any) -> list[tuple[str, str | None]]:
    with pytest.raises(SettingsError) as caught:
        load(**{"file": None, "environ": {}, **sources})
    return [(str(problem), problem.hint) for problem in caught.value.problems]


def test_a_mistyped_setting_is_named_with_line_value_and_nearest_name(tmp_path: Path) -> None:
    file = _write(tmp_path, "schema_version: 1\nserver:\n  prot: 9000\n")
    assert _problems(file=file) == [
        (f"{file}:3: server.prot = 9000 is not a setting", "did you mean server.port?")
    ]


def test_a_setting_under_the_wrong_section_is_found_where_it_belongs(tmp_path: Path) -> None:
    file = _write(tmp_path, "server:\n  idle_unload_s: 9\nport: 80\n")
    assert _problems(file=file) == [
        (f"{file}:2: server.idle_unload_s = 9 is not a setting", "did you mean runtime.idle_unload_s?"),
        (
            f"{file}:3: port = 80 is not a section",
            "did you mean server.port? Write `port:` indented below `server:`",
        ),
    ]


def test_a_mistyped_section_is_one_problem_however_much_is_in_it(tmp_path: Path) -> None:
    file = _write(tmp_path, "srver:\n  port: 1\n  host: x\n")
    assert _problems(file=file) == [(f"{file}:1: srver is not a section", "did you mean server?")]


def test_a_name_that_is_like_nothing_gets_the_list_of_what_there_is(tmp_path: Path) -> None:
    file = _write(tmp_path, "qqqqqq: {}\njobs:\n  zzzzzz: 1\n")
    assert _problems(file=file) == [
        (
            f"{file}:1: qqqqqq is not a section",
            f"the sections are {', '.join(sections())}",
        ),
        (f"{file}:3: jobs.zzzzzz = 1 is not a setting", "jobs has queue_limit, person_limit, max_active"),
    ]


@pytest.mark.parametrize(
    ("line", "what", "hint"),
    [
        ("server: {port: 65536}", "server.port = 65536 must be at most 65535", None),
        ("server: {port: -1}", "server.port = -1 must be at least 0", None),
        ("server: {port: true}", "server.port = True must be a number, not true or false", None),
        ("server: {port: 80.5}", "server.port = 80.5 must be a whole number", None),
        ("server: {port: }", "server.port = nothing must be a whole number", None),
        ("server: {port: [1]}", "server.port = [1] must be a whole number", None),
        (
            "server: {log_level: loud}",
            "server.log_level = 'loud' must be debug, info, warning or error",
            None,
        ),
        (
            "server: {max_upload_bytes: 5 GiB}",
            "server.max_upload_bytes = '5 GiB' must be at most 4 GiB",
            None,
        ),
        (
            "server: {max_upload_bytes: much}",
            "server.max_upload_bytes = 'much' is not an amount of memory",
            "write it like 12 GiB or 800 MB",
        ),
        (
            "server: {max_upload_bytes: " + "9" * 400 + "}",
            "server.max_upload_bytes = " + "9" * 80 + "… must be at most 4 GiB",
            None,
        ),
        (
            "server: {allowed_hosts: [studio.lan, 'http://x/']}",
            "server.allowed_hosts[1] = 'http://x/' is not a host name",
            "write it without scheme, port and path, like studio.lan",
        ),
        ("runtime: {aging_s: .nan}", "runtime.aging_s = nan must be a finite number", None),
        ("runtime: {aging_s: .inf}", "runtime.aging_s = inf must be a finite number", None),
        (
            "runtime: {budgets: {'cuda:0': lots}}",
            "runtime.budgets[cuda:0] = 'lots' is not an amount of memory",
            "write it like 12 GiB or 800 MB",
        ),
        (
            "runtime: {budgets: {gpu: 1}}",
            "runtime.budgets[gpu] = 'gpu' is not the name of a device",
            "write cpu, mps, cuda:0, rocm:0 or vulkan:0",
        ),
        ("runtime: {budgets: 3}", "runtime.budgets = 3 must be a map", None),
        (
            "runtime: {devices: []}",
            "runtime.devices = [] names no device",
            "write auto for all that are found, or a list like [cuda:0, cpu]",
        ),
        ("models: {folders: ['']}", "models.folders[0] = '' is not the name of a folder", None),
        (
            "language: {server: vllm}",
            "language.server = 'vllm' is neither a known word nor a path",
            "write auto, package, path, own, or a path",
        ),
        (
            "language: {releases: example.org}",
            "language.releases = 'example.org' is not an address",
            "write it like https://example.org/releases",
        ),
        (
            "language: {releases: 'https://me:secret@example.org/'}",
            "language.releases = 'https://me:********@example.org/' is not an address",
            "write it like https://example.org/releases",
        ),
        ("images: 7", "images = 7 must be a section with settings", None),
        ("images: false", "images = False must be a section with settings", None),
        ("images: []", "images = [] must be a section with settings", None),
    ],
)
def test_a_bad_value_is_told_with_its_line_and_what_would_do(
    tmp_path: Path, line: str, what: str, hint: str | None
) -> None:
    file = _write(tmp_path, f"schema_version: 1\n{line}\n")
    assert _problems(file=file) == [(f"{file}:2: {what}", hint)]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "10.0.0.1"])
def test_an_address_that_others_can_reach_is_refused_as_long_as_there_are_no_accounts(host: str) -> None:
    ((what, hint),) = _problems(environ={"INGLENOOK_SERVER__HOST": host})
    assert f"server.host = '{host}' would let other machines in" in what
    assert hint is not None
    assert "127.0.0.1" in hint


@pytest.mark.parametrize(
    ("host", "kept"),
    [("127.0.0.1", "127.0.0.1"), ("127.1.2.3", "127.1.2.3"), ("[::1]", "::1"), ("LocalHost", "localhost")],
)
def test_every_address_of_this_machine_alone_is_accepted(host: str, kept: str) -> None:
    assert load(file=None, environ={"INGLENOOK_SERVER__HOST": host}).settings.server.host == kept


def test_a_host_that_is_no_address_is_not_looked_up() -> None:
    ((what, _),) = _problems(environ={"INGLENOOK_SERVER__HOST": "example.com"})
    assert what.endswith("server.host = 'example.com' is not an address of this machine")


@pytest.mark.parametrize(
    ("variable", "what", "hint"),
    [
        ("INGLENOOK_SERVER__PROT", "server.prot is not a setting", "did you mean INGLENOOK_SERVER__PORT?"),
        ("INGLENOOK_SERVER_PORT", "is not a setting", "did you mean INGLENOOK_SERVER__PORT?"),
        ("INGLENOOK_CONFGI", "is not a setting", "did you mean INGLENOOK_CONFIG?"),
        (
            "INGLENOOK_QQQQQQQQQQQQQQQQQQQ",
            "is not a setting",
            "write INGLENOOK_SECTION__KEY, with two underscores between",
        ),
    ],
)
def test_a_variable_that_begins_like_ours_and_is_none_stops_the_server(
    variable: str, what: str, hint: str
) -> None:
    assert _problems(environ={variable: "1"}) == [(f"environment {variable}: {what}", hint)]


def test_reserved_and_empty_variables_are_not_settings() -> None:
    environ = {
        "INGLENOOK_WIRE": "x",
        "INGLENOOK_WIRE_TOKEN": "x",
        "INGLENOOK_CONFIG": "x",
        "INGLENOOK_SERVER__PORT": "",
    }
    assert load(file=None, environ=environ).origin["server.port"] == "default"


@pytest.mark.parametrize(
    ("text", "budgets"),
    [
        ("cuda:0=12 GiB, cpu=4 GiB", {"cuda:0": 12 << 30, "cpu": 4 << 30}),
        ('{"cuda:0": "12 GiB"}', {"cuda:0": 12 << 30}),
        ("{}", {}),
    ],
)
def test_maps_can_be_written_in_a_variable(text: str, budgets: dict[str, int]) -> None:
    loaded = load(file=None, environ={"INGLENOOK_RUNTIME__BUDGETS": text})
    assert loaded.settings.runtime.budgets == budgets


@pytest.mark.parametrize("text", ["never", " Never "])
def test_a_word_stands_for_no_limit_in_a_variable_too(text: str, tmp_path: Path) -> None:
    file = _write(tmp_path, "runtime: {idle_unload_s: 5, cpu_threads: 2}\n")
    environ = {"INGLENOOK_RUNTIME__IDLE_UNLOAD_S": text, "INGLENOOK_RUNTIME__CPU_THREADS": "auto"}
    runtime = load(file=file, environ=environ).settings.runtime
    assert (runtime.idle_unload_s, runtime.cpu_threads) == (None, None)


@pytest.mark.parametrize("text", ["cpu, cuda:0", '["cpu", "cuda:0"]', " CPU ,cuda:0,"])
def test_lists_can_be_written_in_a_variable(text: str) -> None:
    loaded = load(file=None, environ={"INGLENOOK_RUNTIME__DEVICES": text})
    assert loaded.settings.runtime.devices == ("cpu", "cuda:0")


@pytest.mark.parametrize("text", ["[1", "{", "cpu"])
def test_a_map_in_a_variable_that_is_none_is_refused(text: str) -> None:
    ((what, _),) = _problems(environ={"INGLENOOK_RUNTIME__BUDGETS": text})
    assert what.startswith(f"environment INGLENOOK_RUNTIME__BUDGETS: runtime.budgets = '{text}' is not ")


def test_a_mistake_in_the_file_is_told_even_where_a_variable_replaces_the_value(tmp_path: Path) -> None:
    file = _write(tmp_path, "server:\n  port: abc\n")
    problems = _problems(file=file, environ={"INGLENOOK_SERVER__PORT": "9000"})
    assert problems == [(f"{file}:2: server.port = 'abc' must be a whole number", None)]


def test_all_problems_of_all_sources_are_told_at_once(tmp_path: Path) -> None:
    file = _write(tmp_path, "server:\n  prot: 1\njobs:\n  queue_limit: 0\n")
    problems = _problems(file=file, environ={"INGLENOOK_SERVER__PORT": "x"})
    assert [what for what, _ in problems] == [
        f"{file}:2: server.prot = 1 is not a setting",
        f"{file}:4: jobs.queue_limit = 0 must be at least 1",
        "environment INGLENOOK_SERVER__PORT: server.port = 'x' must be a whole number",
    ]


def test_a_password_is_in_no_message_even_under_a_mistyped_name(tmp_path: Path) -> None:
    file = _write(
        tmp_path,
        "store:\n  databse_url: postgresql://u:swordfish@h/d\n  database_url: mysql://u:swordfish@h/d\n",
    )
    with pytest.raises(SettingsError) as caught:
        load(file=file, environ={"INGLENOOK_STORE__DATABASE_URL": "oracle://u:swordfish@h/d"})
    assert len(caught.value.problems) == 3
    assert "swordfish" not in str(caught.value)
    assert "did you mean store.database_url?" in str(caught.value)


@pytest.mark.parametrize("key", ["server.host", "server.data", "store.database_url"])
def test_what_is_needed_before_the_database_is_open_cannot_be_overridden_in_it(key: str) -> None:
    ((what, hint),) = _problems(overrides={key: Override("x", by="owner", at=WHEN)})
    assert what.endswith(f"{key} is needed before the database is open")
    assert hint == "set it in the file or in the environment"


def test_a_bad_override_names_who_set_it_and_when() -> None:
    problems = _problems(overrides={"jobs.max_active": Override(0, by="owner", at=WHEN)})
    assert problems == [
        ("override by owner at 2026-01-02T03:04:05+00:00: jobs.max_active = 0 must be at least 1", None)
    ]


def test_a_relative_folder_counts_from_the_file_and_in_a_variable_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    file = _write(tmp_path / "etc", "server: {data: kept}\n")
    assert load(file=file, environ={}).settings.server.data == tmp_path / "etc" / "kept"
    by_variable = load(file=file, environ={"INGLENOOK_SERVER__DATA": "kept"})
    assert by_variable.settings.server.data == tmp_path / "here" / "kept"


@pytest.mark.parametrize(
    ("text", "server"),
    [("Own", "own"), (" auto ", "auto"), ("/opt/llama-server", "/opt/llama-server")],
)
def test_a_llama_cpp_is_a_word_or_a_path(text: str, server: str) -> None:
    assert load(file=None, environ={"INGLENOOK_LANGUAGE__SERVER": text}).settings.language.server == server


def test_a_relative_llama_cpp_counts_from_the_file(tmp_path: Path) -> None:
    file = _write(tmp_path, "schema_version: 1\nlanguage: {server: bin/llama-server}\n")
    assert load(file=file, environ={}).settings.language.server == str(tmp_path / "bin" / "llama-server")


def test_the_file_is_the_named_one_else_the_one_in_the_data_folder(tmp_path: Path) -> None:
    named, variable = tmp_path / "a.yaml", {"INGLENOOK_CONFIG": str(tmp_path / "b.yaml")}
    data = {"INGLENOOK_SERVER__DATA": str(tmp_path)}
    assert find_file(config=named, data=None, environ=variable) == named
    assert find_file(config=None, data=None, environ=variable) == tmp_path / "b.yaml"
    assert find_file(config=None, data=None, environ=data) is None
    written = _write(tmp_path, "")
    assert find_file(config=None, data=None, environ=data) == written
    assert find_file(config=None, data=tmp_path, environ={}) == written
