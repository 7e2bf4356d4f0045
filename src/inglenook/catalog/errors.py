# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a model on disk, or with the name somebody asks for."""

import shlex
from pathlib import Path

from inglenook.base.errors import Invalid, NotFound

_CONVERT = (
    "import sys, torch; from safetensors.torch import save_file; "
    "data = torch.load(open(sys.argv[1], 'rb'), map_location='cpu', weights_only=True); "
    "data = data.get('state_dict', data); "
    "save_file({k: v.clone().contiguous() for k, v in data.items() if isinstance(v, torch.Tensor)}, "
    "sys.argv[2])"
)
"""Reads a PyTorch checkpoint with the unpickler that refuses code, and writes its tensors. `open`, because
PyTorch believes a path's suffix, which may be the wrong one; `clone`, because `save_file` refuses tensors
that share memory."""


class CorruptModel(Invalid):
    """A model's files contradict themselves or their format."""

    default_code = "catalog.corrupt"


class PickledModel(Invalid):
    """Weights in a format that can run code when it is read. Never opened; the hint converts them."""

    default_code = "catalog.pickle"


class ModelNotFound(NotFound):
    default_code = "model.not_found"


class ModelUnusable(Invalid):
    default_code = "model.unusable"


class ModelAmbiguous(Invalid):
    default_code = "model.ambiguous"


def unusable(model: str, problem: str) -> ModelUnusable:
    """Args: problem: as a record keeps it: a sentence, and perhaps a line `hint: …`."""
    fact, _, hint = problem.partition("\nhint: ")
    return ModelUnusable(f"Model {model} cannot be used: {fact}", hint=hint or None, field="model")


def pickled(path: Path, what: str) -> PickledModel:
    """`what` names the container: `a pickle`, `a zip archive`."""
    return PickledModel(
        f"{path.name} is {what} (a PyTorch .ckpt, .pt or .bin), not safetensors. "
        "Reading one can run code that is hidden in it, so it is not opened.",
        hint=f"convert it with:  {convert_command(path)}",
    )


def convert_command(path: Path) -> str:
    """A shell command that writes the tensors of the PyTorch file beside it as `<name>.safetensors`."""
    target = path.with_name(
        f"{path.stem}-converted.safetensors" if path.suffix == ".safetensors" else f"{path.stem}.safetensors"
    )
    return f"python -c {shlex.quote(_CONVERT)} {shlex.quote(str(path))} {shlex.quote(str(target))}"
