# SPDX-License-Identifier: Apache-2.0
"""Where trained weights of a backbone lie, and whence they come: known to the server, which fetches them, and
to the worker, which puts them in."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from inglenook.wire.studio.backbones import BackboneFacts

SUFFIXES: Final = (".safetensors", ".pth", ".pt", ".bin")
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


def own_files(facts: BackboneFacts, models: Sequence[Path]) -> Iterator[Path]:
    """Files that a person has put into a models folder, the best one first."""
    fetched = fetched_name(facts)
    for folder in models:
        for name in (facts.name, facts.built_as):
            for place in (folder, folder / FOLDER):
                exact = [place / f"{name}{suffix}" for suffix in SUFFIXES]
                dated = sorted(place.glob(f"{name}-*.pth")) if place.is_dir() else []  # as torchvision's are
                yield from (path for path in [*exact, *dated] if path.is_file() and path.name != fetched)


def is_packed(facts: BackboneFacts) -> bool:
    """Whether an installed package carries weights. It is not imported."""
    return facts.package is not None and find_spec(facts.package.replace("-", "_")) is not None
