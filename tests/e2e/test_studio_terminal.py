# SPDX-License-Identifier: Apache-2.0
"""The whole way on the terminal, as somebody types it who has never seen the program, and what it says when
something is mistyped.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inglenook.testing.server import RunningServer

pytestmark = pytest.mark.slow

ENVIRON = {"INGLENOOK_RUNTIME__CPU_THREADS": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
TRAIN = ("--backbone", "small_cnn", "--from-scratch", "--epochs", "2", "--batch-size", "8")
SPEC = """{"augmentations": {"train": [{"name": "Resize", "params": {"size": [16, 16]}}, {"name": "ToImage"}],
                             "val": [{"name": "Resize", "params": {"size": [16, 16]}}, {"name": "ToImage"}]},
           "hyperparameters": {"learning_rate": 0.01, "warmup_epochs": 0}}"""


class Terminal:
    """Runs `inglenook …` on one data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "inglenook", *words, "--data", str(self.data)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=280, env=os.environ | ENVIRON, check=False
        )

    def out(self, *words: str) -> str:
        """What it prints, where it succeeds."""
        done = self.run(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def error(self, *words: str) -> str:
        """What it says, where it does not: words, and no trace of Python."""
        done = self.run(*words)
        assert done.returncode in (1, 2), (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """15 reddish pictures and 15 bluish ones, a folder a class, and a file that is no picture."""
    root = tmp_path_factory.mktemp("mine") / "pets"
    random = np.random.default_rng(2)
    for name, colour in (("cats", (210, 70, 60)), ("dogs", (60, 70, 210))):
        (root / name).mkdir(parents=True)
        for number in range(15):
            pixels = np.clip(np.array(colour) + random.integers(-40, 40, (16, 16, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{name} {number}.png")
    (root / "dogs" / "list.txt").write_text("not a picture")
    return root


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    data = tmp_path_factory.mktemp("data")
    asked = Terminal(data).error("studio", "list")
    assert "No server is running" in asked
    assert "inglenook serve" in asked
    with RunningServer.start(data, environ=ENVIRON):
        yield Terminal(data)


@pytest.fixture(scope="module")
def trained(terminal: Terminal, pets: Path) -> str:
    """The project with the experiment `one`, made by the first commands of the way."""
    spec = terminal.data / "spec.json"
    spec.write_text(SPEC)
    assert "inglenook studio import --new" in terminal.run("studio", "list").stderr
    assert "inglenook studio import --new" in terminal.error("studio", "import", "pets", str(pets))
    assert "30 imported" in terminal.out("studio", "import", "--new", "Pets", str(pets))
    assert "Pets" in terminal.out("studio", "list")
    assert "has no split" in terminal.error("studio", "train", "pets", *TRAIN)
    made = terminal.out("studio", "split", "pets", "first", "--train", "0.6", "--val", "0.2", "--test", "0.2")
    assert made.split()[-4:] == ["first", "18", "6", "6"]
    done = terminal.run("studio", "train", "pets", *TRAIN, "--name", "one", "--spec", str(spec))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("exp-")
    assert re.search(
        r"epoch 2.*: train_loss \S+, val_loss \S+, .*, val_accuracy \S+ \(0\.\d+ to [01]\.\d+\)", done.stderr
    )
    assert "completed" in terminal.out("studio", "list", "pets")
    return "pets"


def test_from_a_folder_to_predictions_one_command_after_another(
    terminal: Terminal, pets: Path, trained: str, tmp_path: Path
) -> None:
    figures = terminal.out("studio", "evaluate", trained, "one", "--subset", "val", "--subset", "test")
    assert "accuracy " in figures
    assert "cats" in figures
    assert "has been evaluated" in terminal.error("studio", "evaluate", trained, "one")
    assert terminal.out("studio", "evaluate", trained, "one", "--show") == figures
    folder = tmp_path / "out"
    exported = terminal.out("studio", "export", trained, "one", "-o", str(folder), "--register", "pet-kinds")
    assert "inglenook predict pet-kinds PICTURE" in exported
    assert {one.name for one in folder.iterdir()} == {"model.onnx", "predict.py", "MODEL_CARD.md"}
    assert "pet-kinds" in terminal.out("models")
    pictures = [str(pets / name / f"{name} {number}.png") for name in ("cats", "dogs") for number in (0, 1)]
    said = terminal.out("predict", "pet-kinds", *pictures, "--top", "1").splitlines()
    labels = [line.removeprefix(f"{file}: ").split()[0] for file, line in zip(pictures, said, strict=True)]
    script = subprocess.run(
        [sys.executable, "predict.py", pictures[0]], cwd=folder, capture_output=True, text=True, check=True
    )
    assert labels[0] in script.stdout.splitlines()[0]
    assert labels == ["cats", "cats", "dogs", "dogs"]

    taken = terminal.run("studio", "export", "pets", "one", "--register", "pet-kinds")
    assert taken.returncode == 1
    assert "already" in taken.stderr
    assert "made: export-" in taken.stderr, "what was made stays, and is named"
    broken = terminal.error("predict", "pet-kinds", pictures[0], str(pets / "dogs" / "list.txt"))
    assert "list.txt: " in broken, "of several files, the one that is meant"


def test_pictures_are_divided_in_every_way_from_the_terminal(
    terminal: Terminal, trained: str, tmp_path: Path
) -> None:
    kfold = ("--method", "kfold", "--folds", "2", "--test", "0", "--train", "0.5", "--val", "0.5")
    seen = terminal.out("studio", "split", trained, "folds", *kfold, "--preview").splitlines()
    assert [line.split()[0] for line in seen] == ["folds", "cats", "dogs", "all"] * 2
    assert "folds 1" not in terminal.out("studio", "list", trained), "a preview keeps nothing"
    made = terminal.out("studio", "split", trained, "folds", *kfold).splitlines()
    assert [line.split()[:2] for line in made[1:]] == [["folds", "1"], ["folds", "2"]]
    table = tmp_path / "parts.csv"
    table.write_text("cats 0.png,val\ndogs 0.png,test\n")
    hand = ("--method", "manual", "--assignments", str(table), "--rest", "train", "--json")
    stats = json.loads(terminal.out("studio", "split", trained, "by hand", *hand))["stats"]
    assert (stats["val"], stats["test"], stats["none"]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("studio", "list", "pots"), ("no project 'pots'", "did you mean Pets?")),
        (("studio", "split", "pets", "second", "--train", "0.9"), ("add up to 1.1",)),
        (("studio", "split", "pets", "first"), ("already",)),
        (
            ("studio", "split", "pets", "x", "--method", "time", "--folds", "3"),
            ("does not go with time", "kfold"),
        ),
        (
            ("studio", "split", "pets", "x", "--method", "manual", "--assignments", __file__),
            ("line 1: not a",),
        ),
        (("studio", "train", "pets", "--backbone", "resnet81"), ("Did you mean resnet18?",)),
        (("studio", "train", "pets", "--split", "frist"), ("no split 'frist'",)),
        (("studio", "export", "pets", "two"), ("no experiment 'two'", "there are one")),
        (("studio", "resume", "pets", "one"), ("completed",)),
        (("studio", "watch", "pets", "oen"), ("no experiment 'oen'", "did you mean one?")),
        (("studio", "list", "zoo"), ("no project 'zoo'", "there are Pets", "import --new")),
        (("studio", "evaluate", "pets", "one", "--again", "--checkpoint", "x"), ("no checkpoint", "best")),
        (("studio", "import", "pets", "/nowhere"), ("There is no /nowhere",)),
        (("studio", "import", "/nowhere"), ("Name a PROJECT and a SOURCE",)),
        (("predict", "pet-kind", __file__), ("no model 'pet-kind'",)),
    ],
)
def test_what_is_mistyped_is_said_with_what_there_is(
    terminal: Terminal, trained: str, words: tuple[str, ...], says: tuple[str, ...]
) -> None:
    assert trained == "pets"
    told = terminal.error(*words)
    assert all(one in told for one in says), told


def test_an_experiment_is_restarted_from_the_terminal(terminal: Terminal, trained: str) -> None:
    again = terminal.run("studio", "restart", trained, "one")
    assert again.returncode == 0, again.stderr
    assert "epoch 2" in again.stderr
