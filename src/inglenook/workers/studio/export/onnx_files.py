# SPDX-License-Identifier: Apache-2.0
"""A network traced by PyTorch's exporter (dynamo) into one ONNX file, without traces of this machine."""

import contextlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from inglenook.vision.preprocessing import Normalize, Preprocessing
from inglenook.wire.studio.export import INPUT, LEAST_OPSET, OUTPUT, ExportOptions
from inglenook.workers.studio.export.errors import Untraceable


class Baked(nn.Module):
    """Pixels as they are, (N, H, W, C) uint8, to logits."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, normal: Normalize | None) -> None:
        super().__init__()
        self.network = network
        mean, std = ((0.0,), (1.0,)) if normal is None else (normal.mean, normal.std)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, pixels: torch.Tensor) -> Any:
        numbers = pixels.permute(0, 3, 1, 2).to(torch.float32) * (1 / 255)
        return self.network((numbers - self.mean) / self.std)


def example_input(
    options: ExportOptions, channels: int, side_px: tuple[int, int], batch: int
) -> torch.Tensor:
    height, width = side_px
    if options.baked_preprocessing:
        return torch.zeros((batch, height, width, channels), dtype=torch.uint8)
    return torch.zeros((batch, channels, height, width))


def traced(
    network: nn.Module, wanted: Preprocessing, options: ExportOptions, example: torch.Tensor
) -> onnx.ModelProto:
    """Raises Untraceable: the exporter, or ONNX's own checker, says what is wrong."""
    module = Baked(network, wanted.normalize).eval() if options.baked_preprocessing else network
    dynamic = None if options.dynamic_axes is None else ({0: torch.export.Dim("batch_size")},)
    quiet = contextlib.redirect_stdout(io.StringIO())
    try:
        with warnings.catch_warnings(), quiet, torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                dynamic_shapes=dynamic,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=max(options.opset_version, LEAST_OPSET),
                optimize=options.simplify,
                verbose=False,
            )
        model = program.model_proto
    except (RuntimeError, TypeError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
        raise Untraceable(f"The network could not be written as ONNX: {str(error).strip()[:500]}") from error
    _clean(model)
    return _lowered(model, options.opset_version)


def opset_of(model: onnx.ModelProto) -> int:
    return next(int(one.version) for one in model.opset_import if one.domain in ("", "ai.onnx"))


def _lowered(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """With older operators where ONNX's own converter can do it; else as it is: the caller tells which."""
    if opset >= opset_of(model):
        return model
    try:
        lower = onnx.version_converter.convert_version(model, opset)
        onnx.checker.check_model(lower, full_check=True)
    except (RuntimeError, ValueError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return model
    return lower


def _clean(model: onnx.ModelProto) -> None:
    """The exporter leaves lines of its source, and of ours, at every operator."""
    for graph in (model.graph, *model.functions):
        del graph.metadata_props[:]
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    del model.metadata_props[:]
    model.producer_name, model.producer_version = "inglenook, pytorch", str(torch.__version__)


def describe(model: onnx.ModelProto, told: Mapping[str, str]) -> None:
    """Write metadata into the model, replacing what is there."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(told))


def write(model: onnx.ModelProto, path: Path) -> None:
    """Raises Untraceable: ONNX's checker finds a fault in it, or it is over protobuf's 2 GB."""
    try:
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString())
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise Untraceable(f"The file would not be sound ONNX: {str(error).strip()[:500]}") from error
