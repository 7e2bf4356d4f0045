# SPDX-License-Identifier: Apache-2.0
"""Rules of the house that a linter does not know."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

import inglenook
from inglenook.settings.declaration import sections

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "inglenook"
CODE = (".py", ".sh", ".lua", ".js", ".css", ".toml", ".yaml")
BROAD_EXCEPT_ALLOWED = {
    "door/problem.py",  # the door: whatever was not foreseen ends there
    "jobs/runner.py",  # the job runner: a job's mistake is the job's
    "workers/serving.py",  # the main of every worker that holds a model
    "workers/image/serving.py",
    "workers/mlx/convert/worker.py",
    "workers/speech/worker.py",
    "workers/vision/worker.py",
    "workers/studio/worker.py",
    "workers/dataset/pictures.py",  # decoders raise whatever a damaged file leads them to
    "workers/dataset/worker.py",
    "workers/pixels/worker.py",
}


def tracked(*suffixes: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    files = [ROOT / name for name in listed if not suffixes or name.endswith(suffixes)]
    return [file for file in files if file.is_file()]


@cache
def python_modules() -> list[tuple[str, ast.Module]]:
    """Each module of ours, by its path under `SOURCE`. Parsed once: nobody changes what they find."""
    return [
        (file.relative_to(SOURCE).as_posix(), ast.parse(file.read_text()))
        for file in sorted(SOURCE.rglob("*.py"))
    ]


def test_the_import_law_holds() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "9 kept" in run.stdout, run.stdout + run.stderr
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_source_file_names_its_licence() -> None:
    files = [f for f in tracked(*CODE) if "vendor" not in f.parts]
    assert len(files) > 150, "the files were not found: fix the search, do not lower this floor"
    missing = [
        str(f.relative_to(ROOT)) for f in files if "SPDX-License-Identifier" not in f.read_text()[:800]
    ]
    assert missing == []


def test_no_file_names_a_registry_or_a_path_of_somebodys_machine() -> None:
    hosts = (
        "pypi" + ".org",
        "pythonhosted" + ".org",
        "registry" + ".npmjs",
        "deb" + ".debian",
        "yarnpkg" + ".com",
    )
    paths = re.compile(r"/(?:work|farm)/(?:main|shared)|/root/\S")
    found = []
    for file in tracked():
        if file.suffix in (".png", ".safetensors", ".gz", ".webp") or "vendor" in file.parts:
            continue
        text = file.read_text(errors="replace")
        if file != Path(__file__) and (any(host in text for host in hosts) or paths.search(text)):
            found.append(str(file.relative_to(ROOT)))
    assert found == []


def test_the_pins_hold_no_address_and_no_release_that_carried_malware() -> None:
    pins = (ROOT / "constraints.txt").read_text()
    assert "://" not in pins
    for name in ("lightning", "pytorch-lightning"):
        version = re.search(rf"^{name}==(\S+)$", pins, re.MULTILINE)
        assert version is not None
        assert version[1] not in ("2.6.2", "2.6.3")


def test_the_core_installs_without_a_tensor_library() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=!;\[ ]", requirement)[0] for requirement in project["dependencies"]}
    assert names == {
        "alembic", "click", "fastapi", "filelock", "gguf", "httptools", "httpx", "jinja2", "mcp", "msgspec",
        "numpy", "nvidia-ml-py", "pg8000", "pillow", "platformdirs", "prometheus-client", "psutil",
        "pydantic", "python-multipart", "ruamel.yaml", "sqlalchemy", "uvicorn", "uvloop", "websockets",
    }, "a new dependency is a decision: write down its licence in NOTICE and add it here"  # fmt: skip
    assert project["version"] == inglenook.__version__


def test_the_notice_names_the_licence_of_what_runs_language_and_speech() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = [re.split(r"[<>=!;\[ ]", one)[0] for one in (*extras["language"], *extras["speech"], "gguf")]
    assert len(names) >= 4
    notice = (ROOT / "NOTICE").read_text()
    assert [name for name in names if not re.search(rf"\b{name} \((?:MIT|BSD|Apache)", notice)] == []


def test_only_the_named_places_catch_everything() -> None:
    found = set()
    for name, module in python_modules():
        for node in ast.walk(module):
            broad = isinstance(node, ast.ExceptHandler) and (
                node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception")
            )
            if broad:
                found.add(name)
    assert found <= BROAD_EXCEPT_ALLOWED


def test_a_mark_for_a_whole_file_of_tests_is_code_and_not_part_of_a_text() -> None:
    mark = re.compile(r"^pytestmark\b", re.MULTILINE)
    said = [path for path in tracked(".py") if mark.search(path.read_text("utf-8"))]
    assert len(said) > 20
    for path in said:
        names = [
            ast.unparse(target)
            for statement in ast.parse(path.read_text("utf-8")).body
            if isinstance(statement, ast.Assign)
            for target in statement.targets
        ]
        assert "pytestmark" in names, f"{path} has it inside a text: nothing is marked"


def test_no_package_is_a_junk_drawer() -> None:
    names = {part for name, _ in python_modules() for part in Path(name).with_suffix("").parts}
    assert names.isdisjoint({"utils", "util", "core", "common", "helpers", "managers", "misc"})


def test_a_route_that_blocks_is_not_a_coroutine() -> None:
    """A coroutine that only blocks stops the whole server while it runs; a plain function gets a thread."""
    seen = 0
    blind = set()
    for name, module in python_modules():
        for node in ast.walk(module):
            if not isinstance(node, ast.AsyncFunctionDef) or not any(map(_is_route, node.decorator_list)):
                continue
            seen += 1
            waits = (ast.Await, ast.AsyncFor, ast.AsyncWith, ast.Yield)
            if not any(isinstance(inner, waits) for inner in ast.walk(node)):
                blind.add(f"{name}:{node.name}")
    assert seen > 15, "the routes were not found: fix the search, do not lower this floor"
    assert blind == {
        "api/alice/gallery.py:config",  # answers from a setting
        "api/health.py:livez",  # on the event loop on purpose: it tells that the loop turns
        "api/health.py:readyz",
        "api/health.py:health",
        "api/health.py:alices_health",
        "api/pixelai/generation.py:progress",  # reads what the event loop's thread owns
        "api/pixelai/generation.py:cancel",  # asks a task of the event loop to stop, and answers at once
        "api/studio/journal.py:events",  # hands a generator to the response
        "api/studio/runtime.py:snapshot",  # reads what the event loop's thread owns
        "web/activity_pages.py:stream",  # hands a generator to the response
        "web/fragments.py:stream",  # hands a generator to the response
        "web/model_pages.py:stream",  # hands a generator to the response
    }


def _is_route(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(called, ast.Attribute) and called.attr in ("get", "post", "put", "patch", "delete")


@pytest.mark.parametrize(
    "key", [f"{section}.{name}" for section, kind in sections().items() for name in kind.model_fields]
)
def test_every_setting_is_read_by_somebody(key: str) -> None:
    section, _, name = key.partition(".")
    pattern = re.compile(
        rf"\b{section}\.{name}\b|\b(?:settings|server|runtime|images|models|jobs|gallery)\.{name}\b"
    )
    assert any(map(pattern.search, _texts_outside_settings())), f"{key} is parsed and ignored"


@cache
def _texts_outside_settings() -> list[str]:
    return [
        file.read_text()
        for file in SOURCE.rglob("*.py")
        if (SOURCE / "settings") not in file.parents or file.name == "declaration.py"
    ]


def test_the_server_imports_no_tensor_library() -> None:
    script = (
        "import sys, inglenook.app, inglenook.api.openai, inglenook.web.pages;"
        "print([m for m in ('torch', 'diffusers', 'transformers', 'lightning') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_server_starts_without_what_only_some_requests_need() -> None:
    script = (
        "import importlib, pkgutil, sys, inglenook.app, inglenook.api, inglenook.web\n"
        "for package in (inglenook.api, inglenook.web):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "heavy = ('numpy', 'httpx', 'pynvml', 'alembic', 'rich', 'sqlalchemy.dialects.postgresql')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
