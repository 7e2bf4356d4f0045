# SPDX-License-Identifier: Apache-2.0
"""Tiny ONNX files, made with the `onnx` package that the program itself never imports."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

LABELS = ("red", "green", "blue")
RESIZED = {"steps": [{"step": "resize", "size": [8, 8]}]}


def metadata(
    labels: Sequence[str] = LABELS, preprocessing: Mapping[str, Any] = RESIZED, **more: str
) -> dict[str, str]:
    """As the studio writes it."""
    return {
        "inglenook.schema": "1",
        "inglenook.task": "classification",
        "inglenook.labels": json.dumps(list(labels)),
        "inglenook.preprocessing": json.dumps(preprocessing),
        "inglenook.scores": "logits",
        **{f"inglenook.{name}": value for name, value in more.items()},
    }


def colours(
    *,
    side: int | str = 8,
    batch: int | str = "batch",
    channels: int = 3,
    layout: str = "NCHW",
    dtype: str = "float32",
    softmax: bool = False,
    told: Mapping[str, str] | None = None,
    gain: float = 10.0,
) -> bytes:
    """A model that tells which channel of a picture is the strongest: the mean of each, times `gain`."""
    from onnx import TensorProto, helper, numpy_helper

    kinds = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}
    sides = [batch, channels, side, side] if layout == "NCHW" else [batch, side, side, channels]
    taken = helper.make_tensor_value_info("image", kinds[dtype], sides)
    given = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, channels])
    nodes, name = [helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.FLOAT)], "numbers"
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [name], ["turned"], perm=[0, 3, 1, 2]))
        name = "turned"
    nodes += [
        helper.make_node("GlobalAveragePool", [name], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weight"], ["logits" if softmax else "scores"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["scores"], axis=1))
    weight = numpy_helper.from_array(np.where(np.eye(channels), gain, 0).astype(np.float32), "weight")
    graph = helper.make_graph(nodes, "colours", [taken], [given], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], producer_name="tests")
    model.ir_version = 10
    helper.set_model_props(model, dict(metadata() if told is None else told))
    return bytes(model.SerializeToString())


def write_colours(path: Path, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(colours(**how))
    return path
