# SPDX-License-Identifier: Apache-2.0
"""A workspace of AI Studio is copied: what can be read of it, and a sentence for the rest."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.ai_studio import CODE, PROJECT, WEIGHTS, checkpoint, image, put, write_workspace
from tests.studio_bench import ANNA, png, studio_in

from inglenook.base.errors import NotFound
from inglenook.cli import program
from inglenook.studio.foreign.bringing import Report, bring_ai_studio
from inglenook.studio.foreign.checkpoints import not_loadable
from inglenook.studio.foreign.contents import contents_of


def brought(root: Path, data: Path) -> Report:
    with studio_in(data) as studio:
        return bring_ai_studio(studio, root, person=ANNA)


def edit(path: Path, **changes: Any) -> None:
    put(path, json.loads(path.read_text()) | changes)


def test_projects_pictures_labels_and_splits_are_copied(tmp_path: Path) -> None:
    root = write_workspace(tmp_path / "old")
    with studio_in(tmp_path) as studio:
        report = bring_ai_studio(studio, root, person=ANNA)
        (one,) = report.projects
        assert (one.project.name, one.project.task, one.pictures) == ("Old pets", "classification", 8)
        assert one.splits == ("main", "tiny")
        pictures = list(studio.datasets.iterate(one.project.id))
        assert [it.filename for it in pictures][:2] == ["cats #0.png", "cats #2.png"]
        for it in pictures:
            copied = studio.datasets.file(one.project.id, it).read_bytes()
            assert copied == (root / "projects" / PROJECT / "dataset" / "images" / it.original).read_bytes()
        assert studio.datasets.class_counts(one.project.id) == {"cats": 4, "dogs": 4}
        main = studio.splits.get(one.project.id, "main")
        assert main.stats == {"train": 4, "val": 2, "test": 2, "none": 0}
        assert "keeps no seed" in main.split.warnings[0]
        parts = studio.splits.assignments(one.project.id, "tiny")
        assert {it.filename: parts.get(it.id) for it in pictures if it.id in parts} == {
            "cats #0.png": "train"
        }


def test_experiments_and_exports_are_kept_as_they_were_and_checkpoints_looked_at(tmp_path: Path) -> None:
    root = write_workspace(tmp_path / "old")
    with studio_in(tmp_path) as studio:
        report = bring_ai_studio(studio, root, person=ANNA)
        project_id = report.projects[0].project.id
        contents = contents_of(studio, project_id)
        folder = studio.workspace.project_folder(project_id) / "ai-studio"
    first, second = contents.experiments
    assert (first.name, first.status, first.best_metric) == (
        "Experiment 1",
        "completed",
        {"val_accuracy": 0.5},
    )
    assert (second.status, second.best_metric) == ("training", {"val_accuracy": None})
    problems = {it.file.rpartition("/")[2]: it.problem for it in first.checkpoints}
    assert problems["best.ckpt"] is None
    assert "os.system" in str(problems["last.ckpt"])
    assert any("last.ckpt was copied, but will not be loaded: it names os.system" in it for it in report.left)
    assert all((folder / it.file).is_file() for it in first.checkpoints)
    assert (folder / "experiments" / "exp-00000001" / "metrics.json").is_file()
    (export,) = contents.exports
    assert export.file is not None
    assert (folder / export.file).read_bytes() == b"onnx"


def test_what_cannot_be_copied_is_named_and_takes_nothing_else_down(tmp_path: Path) -> None:
    root = write_workspace(tmp_path / "old")
    folder = root / "projects" / PROJECT
    images = folder / "dataset" / "images"
    (images / "dogs #1.png").unlink()
    (images / "cats #2.png").write_bytes(b"no picture")
    (images / "dogs #3.png").unlink()
    (tmp_path / "secret.png").write_bytes(png())
    (images / "dogs #3.png").symlink_to(tmp_path / "secret.png")
    document = json.loads((folder / "dataset" / "dataset.json").read_text())
    more = [
        image("../../../../../secret.png", ["train", "none"], 0, "cats"),
        {"filename": "broken.png", "annotations": [{"type": "label"}]},
        image("odd.png", ["everywhere", "none"], 0, "cats"),
        "nonsense",
    ]
    edit(folder / "dataset" / "dataset.json", images=document["images"] + more)
    (root / "projects" / "proj-0000dead").mkdir()
    (root / "projects" / "proj-0000dead" / "project.json").write_text("{")
    put(
        root / "projects" / "proj-0000beef" / "project.json",
        {"id": "proj-0000beef", "name": "Bad?name", "task": "classification"},
    )
    edit(root / "workspace.json", projects=[PROJECT, "proj-99999999"])
    report = brought(root, tmp_path)
    (one,) = report.projects
    assert one.pictures == 5
    for words in (
        "dogs #1.png: there is no such file",
        "cats #2.png: it is no picture",
        "dogs #3.png: there is no such file",
        "secret.png' is not the name of a file",
        "picture 10 of the list",
        "odd.png: a part that does not exist",
        "picture 12 of the list",
        "proj-0000dead/project.json cannot be read",
        "'Bad?name' (proj-0000beef)",
        "proj-99999999 is in its list, but it has no folder",
    ):
        assert any(words in it for it in report.left), words


def test_a_project_without_pictures_is_a_project(tmp_path: Path) -> None:
    root = tmp_path / "old"
    put(
        root / "projects" / "proj-1" / "project.json", {"id": "proj-1", "name": "Empty", "task": "regression"}
    )
    report = brought(root, tmp_path)
    assert [(it.project.name, it.pictures) for it in report.projects] == [("Empty", 0)]


def test_a_folder_that_is_no_workspace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no workspace of AI Studio"):
        brought(tmp_path / "nothing", tmp_path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (checkpoint(WEIGHTS), None),
        (checkpoint(CODE), "os.system"),
        (checkpoint(pickle.dumps(Path, protocol=4)), "protocol 4"),
        (checkpoint(b"\x80\x02}q\x00"), "damaged"),
        (checkpoint(b"\x80\x02\x8c\x02os\x8c\x06system\x93."), "cannot be checked"),
        (b"no zip", "no zip"),
        (checkpoint(WEIGHTS)[:60], "no zip"),
    ],
)
def test_only_a_checkpoint_of_plain_values_may_be_loaded(
    tmp_path: Path, data: bytes, words: str | None
) -> None:
    (tmp_path / "a.ckpt").write_bytes(data)
    problem = not_loadable(tmp_path / "a.ckpt")
    assert (problem is None) if words is None else words in str(problem)


@pytest.mark.slow
def test_torch_agrees_on_what_may_be_loaded(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    fine = {"state_dict": {"w": torch.ones(2, dtype=torch.bfloat16)}, "epoch": 3, "lr": [0.1], "name": "x"}
    samples = {
        "fine": fine,
        "module": {"model": torch.nn.Linear(2, 2)},
        "parameters": {"p": torch.nn.Parameter(torch.zeros(3)), "device": torch.device("cpu")},
        "path": {"path": Path("/x")},
        "dtype": {"dtype": torch.float16, "size": torch.Size([1])},
    }
    for name, value in samples.items():
        torch.save(value, tmp_path / name)
        try:
            torch.load(tmp_path / name, weights_only=True)
            loads = True
        except pickle.UnpicklingError:
            loads = False
        assert (not_loadable(tmp_path / name) is None) == loads, name


def test_the_terminal_copies_and_says_what_was_left(tmp_path: Path) -> None:
    root = write_workspace(tmp_path / "old")
    command = ["import", "ai-studio", str(root), "--data", str(tmp_path / "data")]
    said = CliRunner().invoke(program, command)
    assert said.exit_code == 0, said.output
    assert "8 pictures, 2 splits, 2 experiments, 1 exports" in said.stdout
    assert "copied: 1, left: 1" in said.stdout
    assert "last.ckpt was copied, but will not be loaded" in said.stderr
    said = CliRunner().invoke(program, [*command, "--json"])
    report = json.loads(said.stdout)
    assert report["projects"][0]["splits"] == ["main", "tiny"]


def test_the_terminal_does_not_copy_while_a_server_runs(tmp_path: Path) -> None:
    root = write_workspace(tmp_path / "old")
    with studio_in(tmp_path / "data"):
        said = CliRunner().invoke(
            program, ["import", "ai-studio", str(root), "--data", str(tmp_path / "data")]
        )
    assert said.exit_code == 1
    assert "http://here:1 (process 4711) already uses the studio's workspace" in said.stderr
