# SPDX-License-Identifier: Apache-2.0
"""The handler of `Export`: load → trace → quantise → check → one file in its place, or none."""

import json
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import onnx
import onnxruntime
import torch

from inglenook.base.errors import InglenookError
from inglenook.vision.preprocessing import Preprocessing, sound
from inglenook.wire.message import Message
from inglenook.wire.studio.export import (
    OUTPUT,
    Export,
    Exported,
    ExportFailed,
    Exporting,
    ExportOptions,
    ExportStopped,
    Quantized,
    Validation,
)
from inglenook.workers.studio.context import Context
from inglenook.workers.studio.errors import Stopped
from inglenook.workers.studio.export import onnx_files
from inglenook.workers.studio.export.checking import Run, check, session
from inglenook.workers.studio.export.errors import AccuracyLost, CannotPreprocess, CheckFailed, WrongShape
from inglenook.workers.studio.export.pictures import Pictures
from inglenook.workers.studio.export.quantising import measure, quantise
from inglenook.workers.studio.export.steps import as_preprocessing
from inglenook.workers.studio.kept import Kept, load_kept

ONNX_FILE: Final = "model.onnx"
SCRIPT_FILE: Final = "model.pt"
SCHEMA: Final = "1"


def export(work: Export, context: Context) -> Message:
    """One export. Whatever happens, its folder holds the whole file or nothing."""
    job = _Job(work, context)
    try:
        last = job.carry_out()
    except Stopped:
        return ExportStopped(job=work.job)
    except CheckFailed as error:
        return _failed(work, error, validation=error.validation)
    except AccuracyLost as error:
        return _failed(work, error, validation=error.validation, quantized=error.quantized)
    except InglenookError as error:
        return _failed(work, error)
    finally:
        shutil.rmtree(job.place, ignore_errors=True)
    return last


def _failed(
    work: Export,
    error: InglenookError,
    *,
    validation: Validation | None = None,
    quantized: Quantized | None = None,
) -> ExportFailed:
    return ExportFailed(
        job=work.job,
        code=error.code,
        message=error.message[:4000],
        hint=error.hint,
        validation=validation,
        quantized=quantized,
    )


class _Job:
    def __init__(self, work: Export, context: Context) -> None:
        self._work = work
        self._options = work.options
        self._context = context
        self._began = context.clock.monotonic()
        self._notes: list[str] = []
        self.place = Path(work.folder) / ".making"

    def carry_out(self) -> Exported:
        self._tell("load", 0.0)
        kept = load_kept(Path(self._work.checkpoint))
        wanted = self._wanted(kept)
        _check_shape(kept, self._options)
        pictures = Pictures(Path(self._work.manifest))
        self.place.mkdir(mode=0o700)
        self._tell("trace", 0.1)
        if self._work.format == "torchscript":
            return self._torchscript(kept, wanted, pictures)
        return self._onnx(kept, wanted, pictures)

    def _wanted(self, kept: Kept) -> Preprocessing:
        """What happens to a picture outside of the file. Raises CannotPreprocess."""
        wanted = as_preprocessing(kept.steps)
        height, width = kept.side_px
        problem = sound(wanted, channels=kept.channels, height=height, width=width)
        if problem is not None:
            raise CannotPreprocess(f"The val pipeline cannot be exported: {problem}.")
        return wanted

    def _onnx(self, kept: Kept, wanted: Preprocessing, pictures: Pictures) -> Exported:
        options, made = self._options, self.place / ONNX_FILE
        batch = 2 if options.batch is None else options.batch  # the exporter takes a 1 for a constant
        example = onnx_files.example_input(options, kept.channels, kept.side_px, batch)
        model = onnx_files.traced(kept.network, wanted, options, example)
        opset = onnx_files.opset_of(model)
        if opset != options.opset_version:
            self._notes.append(
                f"Opset {options.opset_version} was asked for; this network cannot be written with operators "
                f"that old, so the file has opset {opset}."
            )
        onnx_files.describe(model, self._told(kept, wanted))
        onnx_files.write(model, made)
        self._tell("check", 0.4)
        run = session(made, torch.get_num_threads())
        validation = check(kept, pictures, wanted, options, run, boundary=self._boundary)
        quantized = None
        if options.quantization != "none":
            made, quantized = self._quantised(kept, wanted, pictures, made, run, validation)
        return self._done(
            kept, wanted, made, ONNX_FILE, validation, opset=opset, example=example, quantized=quantized
        )

    def _quantised(
        self,
        kept: Kept,
        wanted: Preprocessing,
        pictures: Pictures,
        made: Path,
        run: Run,
        validation: Validation,
    ) -> tuple[Path, Quantized]:
        """Raises AccuracyLost: more than may be."""
        options, smaller = self._options, self.place / "int8.onnx"
        self._tell("quantise", 0.6)
        calibrated = quantise(made, smaller, pictures, wanted, options)
        model = onnx.load(smaller)
        onnx_files.describe(model, self._told(kept, wanted))
        onnx_files.write(model, smaller)
        self._tell("measure", 0.8)
        quantized = measure(
            run,
            session(smaller, torch.get_num_threads()),
            pictures,
            wanted,
            options,
            sizes=(made.stat().st_size, smaller.stat().st_size),
            calibrated=calibrated,
            boundary=self._boundary,
        )
        before, after = quantized.accuracy_before, quantized.accuracy_after
        if before is not None and after is not None and before - after > options.max_accuracy_loss:
            raise AccuracyLost(
                f"With 8-bit integers the accuracy falls from {before:.1%} to {after:.1%} on "
                f"{quantized.images} pictures; {options.max_accuracy_loss:.1%} may be lost at most.",
                validation=validation,
                quantized=quantized,
                hint="take static quantisation with more calibration pictures, raise max_accuracy_loss, or "
                "leave quantization out",
            )
        return smaller, quantized

    def _torchscript(self, kept: Kept, wanted: Preprocessing, pictures: Pictures) -> Exported:
        """By tracing, for programs that read TorchScript; PyTorch itself calls it deprecated."""
        import warnings

        options, made = self._options, self.place / SCRIPT_FILE
        batch = 2 if options.batch is None else options.batch
        example = onnx_files.example_input(options, kept.channels, kept.side_px, batch)
        module = kept.network
        if options.baked_preprocessing:
            module = onnx_files.Baked(kept.network, wanted.normalize).eval()
        told = {name: text.encode() for name, text in self._told(kept, wanted).items()}
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(module, example)
            torch.jit.save(traced, str(made), _extra_files=told)
            read = torch.jit.load(str(made), map_location="cpu")
        self._tell("check", 0.4)

        def run(given: Any) -> list[Any]:
            with torch.inference_mode():
                return [read(torch.from_numpy(np.ascontiguousarray(given))).numpy()]

        validation = check(kept, pictures, wanted, options, run, boundary=self._boundary)
        self._notes.append("TorchScript is deprecated by PyTorch; take ONNX where you can.")
        return self._done(kept, wanted, made, SCRIPT_FILE, validation, opset=None, example=example)

    def _told(self, kept: Kept, wanted: Preprocessing) -> dict[str, str]:
        """Metadata of the file; the names are those that `catalog.vision` reads."""
        outside = _outside(wanted, self._options)
        own = {
            "schema": SCHEMA,
            "task": kept.task.name,
            "labels": json.dumps(list(kept.classes), ensure_ascii=False),
            "preprocessing": msgspec.json.encode(outside).decode(),
            "scores": "logits",
            "lineage": json.dumps(self._lineage(kept), ensure_ascii=False),
        }
        return {f"inglenook.{name}": text for name, text in (self._work.metadata | own).items() if text}

    def _lineage(self, kept: Kept) -> Mapping[str, Any]:
        return {
            **kept.lineage,
            **self._work.lineage,
            "epoch": kept.epoch,
            "metrics": kept.values,
            "seed": kept.spec.hyperparameters.seed,
            "backbone": kept.spec.model.backbone,
            "first_weights": kept.weights,
            "pretrained": kept.pretrained,
            "quantization": self._options.quantization,
        }

    def _done(
        self,
        kept: Kept,
        wanted: Preprocessing,
        made: Path,
        name: str,
        validation: Validation,
        *,
        opset: int | None,
        example: torch.Tensor,
        quantized: Quantized | None = None,
    ) -> Exported:
        size = made.stat().st_size
        made.replace(Path(self._work.folder) / name)
        shape = tuple(example.shape)
        return Exported(
            job=self._work.job,
            file=name,
            size_bytes=size,
            seconds=self._context.clock.monotonic() - self._began,
            opset=opset,
            epoch=kept.epoch,
            classes=kept.classes,
            input_dtype="uint8" if self._options.baked_preprocessing else "float32",
            input_shape=(0 if self._options.batch is None else shape[0], *shape[1:]),
            preprocessing=msgspec.to_builtins(_outside(wanted, self._options)),
            weights=kept.weights,
            pretrained=kept.pretrained,
            parameters=kept.parameters,
            values=kept.values,
            validation=validation,
            quantized=quantized,
            notes=tuple(self._notes),
            environment=_environment(),
        )

    def _tell(self, stage: str, fraction: float) -> None:
        self._boundary()
        self._context.send(Exporting(job=self._work.job, stage=stage, fraction=fraction))

    def _boundary(self) -> None:
        if self._context.should_stop():
            raise Stopped("Stopped on request.")


def _outside(wanted: Preprocessing, options: ExportOptions) -> Preprocessing:
    return Preprocessing(steps=wanted.geometry, raw=True) if options.baked_preprocessing else wanted


def _check_shape(kept: Kept, options: ExportOptions) -> None:
    """Raises WrongShape: another than the network was trained with, or more axes than the batch's dynamic."""
    own = (kept.channels, *kept.side_px)
    if options.input_shape is not None and options.input_shape[1:] != own:
        raise WrongShape(
            f"input_shape is {list(options.input_shape)}; this network was trained on "
            f"{own[0]} x {own[1]} x {own[2]} (channels, height, width).",
            hint="leave input_shape out, or train with another size in the val pipeline",
        )
    for name, axes in (options.dynamic_axes or {}).items():
        if name not in ("input", OUTPUT) or set(axes) != {"0"}:
            raise WrongShape(
                f"dynamic_axes names {name}: {sorted(axes)}; only axis 0 of input and output can be dynamic.",
                hint='for instance {"input": {"0": "batch"}, "output": {"0": "batch"}}, or null',
            )


def _environment() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "onnx": str(onnx.__version__),
        "onnxruntime": str(onnxruntime.__version__),
    }
