# SPDX-License-Identifier: Apache-2.0
"""What stands in an ONNX file besides its weights: inputs, outputs, operators, metadata, and how large each
tensor is.

Field numbers are those of `onnx.proto3` (github.com/onnx/onnx, Apache-2.0). Weights are leapt over; where
they lie in files beside the model, these must be plain names in its folder.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from inglenook.catalog.forward import Window
from inglenook.catalog.protobuf import BYTES, VARINT, Field, Reader

SUFFIX: Final = ".onnx"
MAX_FIELDS: Final = 250_000
MAX_TENSORS: Final = 100_000
MAX_VALUES: Final = 4_096
"""Inputs, outputs, and metadata entries."""
MAX_NAME_BYTES: Final = 4_096
MAX_METADATA_BYTES: Final = 4 * 1024 * 1024
MAX_SIDES: Final = 16
MAX_DEPTH: Final = 8
"""Graphs inside nodes inside graphs; exporters use two."""
MAX_SCALARS: Final = 1 << 44
"""Of one tensor."""
CHUNK_BYTES: Final = 4_096

DTYPES: Final[Mapping[int, tuple[str, int]]] = {
    1: ("float32", 32), 2: ("uint8", 8), 3: ("int8", 8), 4: ("uint16", 16), 5: ("int16", 16),
    6: ("int32", 32), 7: ("int64", 64), 8: ("string", 0), 9: ("bool", 8), 10: ("float16", 16),
    11: ("float64", 64), 12: ("uint32", 32), 13: ("uint64", 64), 14: ("complex64", 64),
    15: ("complex128", 128), 16: ("bfloat16", 16), 17: ("float8_e4m3fn", 8), 18: ("float8_e4m3fnuz", 8),
    19: ("float8_e5m2", 8), 20: ("float8_e5m2fnuz", 8), 21: ("uint4", 4), 22: ("int4", 4),
    23: ("float4_e2m1", 4), 24: ("float8_e8m0", 8), 25: ("uint2", 2), 26: ("int2", 2),
}  # fmt: skip
"""`TensorProto.DataType` → its name and bits a value."""


@dataclass(frozen=True, slots=True)
class OnnxValue:
    """An input or an output. `shape`: a number, or 0 where any will do; None where nothing is said of it."""

    name: str
    dtype: str
    shape: tuple[int, ...] | None


@dataclass(slots=True)
class OnnxHeader:
    """Attributes:
    opset: of the standard operators; 0 where it is not told.
    scalars, bytes_of: number of values and bytes by stored type.
    outside: files beside the model that hold weights.
    inputs: without those that are weights.
    made_by: name of a value of the outermost graph → the operator that makes it.
    """

    ir_version: int = 0
    producer: str = ""
    opset: int = 0
    inputs: tuple[OnnxValue, ...] = ()
    outputs: tuple[OnnxValue, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    operators: Counter[str] = field(default_factory=Counter)
    made_by: dict[str, str] = field(default_factory=dict)
    scalars: Counter[str] = field(default_factory=Counter)
    bytes_of: Counter[str] = field(default_factory=Counter)
    outside: set[str] = field(default_factory=set)
    digest: str = ""


def read_onnx(path: Path) -> OnnxHeader:
    """Raises:
    CorruptModel: it is no ONNX model, is cut off, or announces more than anybody reads.
    OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        return _Onnx(Window(file, size, path.name, chunk_bytes=CHUNK_BYTES), size).model()


class _Onnx:
    """One pass over a file, in the file's own order."""

    def __init__(self, window: Window, size: int) -> None:
        self._window = window
        self._reader = Reader(window, max_fields=MAX_FIELDS)
        self._size = size
        self._found = OnnxHeader()
        self._tensors = 0
        self._metadata_bytes = 0
        self._graphs = 0

    def model(self) -> OnnxHeader:
        """`ModelProto`: ir_version 1, producer_name 2, graph 7, opset_import 8, metadata_props 14,
        functions 25."""
        found = self._found
        for one in self._reader.fields(self._size):
            if one.number == 1:
                found.ir_version = self._reader.signed(one)
            elif one.number == 2:
                found.producer = self._reader.text(one, MAX_NAME_BYTES)
            elif one.number == 7:
                self._outermost(one)
            elif one.number == 8:
                self._opset(one)
            elif one.number == 14:
                self._metadata(one)
            elif one.number == 25:
                self._function(one)
        if not found.ir_version or self._graphs != 1:
            raise self._window.refuse("is no ONNX model: it has no version or not one graph.")
        found.digest = self._window.digest()
        return found

    def _outermost(self, graph: Field) -> None:
        self._graphs += 1
        inputs, outputs, weights = self._graph(graph, 0)
        self._found.inputs = tuple(one for one in inputs if one.name not in weights)
        self._found.outputs = tuple(outputs)

    def _graph(self, graph: Field, depth: int) -> tuple[list[OnnxValue], list[OnnxValue], set[str]]:
        """`GraphProto`: node 1, initializer 5, input 11, output 12, sparse_initializer 15."""
        if depth > MAX_DEPTH:
            raise self._window.refuse(f"has graphs in graphs, deeper than {MAX_DEPTH}, which are not read.")
        inputs: list[OnnxValue] = []
        outputs: list[OnnxValue] = []
        weights: set[str] = set()
        for one in self._reader.fields(self._reader.message(graph)):
            if one.number == 1:
                self._node(one, depth)
            elif one.number == 5:
                weights.add(self._tensor(one))
            elif one.number in (11, 12):
                values = inputs if one.number == 11 else outputs
                # Of an old kind of file, each weight is an input as well.
                if len(values) == MAX_TENSORS:
                    raise self._window.refuse(f"has more than {MAX_TENSORS} inputs or outputs.")
                values.append(self._value(one))
            elif one.number == 15:
                self._sparse(one)
        return inputs, outputs, weights

    def _node(self, node: Field, depth: int) -> None:
        """`NodeProto`: output 2, op_type 4, attribute 5, domain 7."""
        outputs: list[str] = []
        kind, domain = "", ""
        for one in self._reader.fields(self._reader.message(node)):
            if one.number == 2 and depth == 0 and len(outputs) < MAX_SIDES:
                outputs.append(self._reader.text(one, MAX_NAME_BYTES))
            elif one.number == 4:
                kind = self._reader.text(one, MAX_NAME_BYTES)
            elif one.number == 5:
                self._attribute(one, depth)
            elif one.number == 7:
                domain = self._reader.text(one, MAX_NAME_BYTES)
        name = f"{domain}:{kind}" if domain not in ("", "ai.onnx") else kind
        self._found.operators[name] += 1
        for output in outputs:
            self._found.made_by[output] = name

    def _attribute(self, attribute: Field, depth: int) -> None:
        """`AttributeProto`: t 5, g 6, tensors 10, graphs 11."""
        for one in self._reader.fields(self._reader.message(attribute)):
            if one.number in (5, 10):
                self._tensor(one)
            elif one.number in (6, 11):
                self._graph(one, depth + 1)

    def _function(self, function: Field) -> None:
        """`FunctionProto`: node 7."""
        for one in self._reader.fields(self._reader.message(function)):
            if one.number == 7:
                self._node(one, 1)

    def _sparse(self, sparse: Field) -> None:
        """`SparseTensorProto`: values 1, indices 2."""
        for one in self._reader.fields(self._reader.message(sparse)):
            if one.number in (1, 2):
                self._tensor(one)

    def _tensor(self, tensor: Field) -> str:
        """Returns its name. `TensorProto`: dims 1, data_type 2, float_data 4, int32_data 5, string_data 6,
        int64_data 7, name 8, raw_data 9, double_data 10, uint64_data 11, external_data 13, data_location 14.
        """
        self._tensors += 1
        if self._tensors > MAX_TENSORS:
            raise self._window.refuse(f"has more than {MAX_TENSORS} tensors, which are not read.")
        sides: list[int] = []
        kind, name, stored, raw, outside = 0, "", 0, None, False
        for one in self._reader.fields(self._reader.message(tensor)):
            if one.number == 1:
                sides += self._reader.packed(one, MAX_SIDES)
            elif one.number == 2:
                kind = self._reader.signed(one)
            elif one.number == 8:
                name = self._reader.text(one, MAX_NAME_BYTES)
            elif one.number == 9:
                raw = one.value
            elif one.number == 13:
                self._entry_outside(one)
            elif one.number == 14:
                outside = self._reader.signed(one) == 1
            elif one.number in (4, 5, 6, 7, 10, 11):
                stored += one.value if one.type == BYTES else 4
        self._count(name, sides, kind, stored, raw, outside=outside)
        return name

    def _count(
        self, name: str, sides: list[int], kind: int, stored: int, raw: int | None, *, outside: bool
    ) -> None:
        values = math.prod(sides)
        if len(sides) > MAX_SIDES or not 0 <= values <= MAX_SCALARS or min(sides, default=0) < 0:
            raise self._window.refuse(f"describes the tensor {name[:80]!r} with sides that cannot be.")
        if kind not in DTYPES:
            raise self._window.refuse(f"stores {name[:80]!r} as type {kind}, which is not known here.")
        dtype, bits = DTYPES[kind]
        size = (values * bits + 7) // 8
        if raw is not None and bits and raw != size:
            raise self._window.refuse(
                f"holds {raw} bytes of the tensor {name[:80]!r}, whose shape needs {size}.", "fetch it again"
            )
        if raw is None and not outside:
            # Numbers that are packed take at least an eighth of what they are, so nothing is made up here.
            if values and stored == 0 and kind != 8:
                raise self._window.refuse(f"holds nothing of the tensor {name[:80]!r}.", "fetch it again")
            size = min(size, stored * 8) if bits else stored
        self._found.scalars[dtype] += values
        self._found.bytes_of[dtype] += size

    def _entry_outside(self, entry: Field) -> None:
        key, value = self._pair(entry, MAX_NAME_BYTES)
        if key == "location":
            self._found.outside.add(value)

    def _pair(self, entry: Field, limit: int) -> tuple[str, str]:
        """`StringStringEntryProto`: key 1, value 2."""
        key = value = ""
        for one in self._reader.fields(self._reader.message(entry)):
            if one.number == 1:
                key = self._reader.text(one, MAX_NAME_BYTES)
            elif one.number == 2:
                value = self._reader.text(one, limit)
        return key, value

    def _metadata(self, entry: Field) -> None:
        self._metadata_bytes += entry.value if entry.type == BYTES else 0
        if self._metadata_bytes > MAX_METADATA_BYTES or len(self._found.metadata) >= MAX_VALUES:
            raise self._window.refuse(f"has more than {MAX_METADATA_BYTES} bytes of metadata.")
        key, value = self._pair(entry, MAX_METADATA_BYTES)
        self._found.metadata[key] = value

    def _opset(self, entry: Field) -> None:
        """`OperatorSetIdProto`: domain 1, version 2."""
        domain, version = "", 0
        for one in self._reader.fields(self._reader.message(entry)):
            if one.number == 1:
                domain = self._reader.text(one, MAX_NAME_BYTES)
            elif one.number == 2:
                version = self._reader.signed(one)
        if domain in ("", "ai.onnx"):
            self._found.opset = version

    def _value(self, value: Field) -> OnnxValue:
        """`ValueInfoProto`: name 1, type 2."""
        name, dtype, shape = "", "", None
        for one in self._reader.fields(self._reader.message(value)):
            if one.number == 1:
                name = self._reader.text(one, MAX_NAME_BYTES)
            elif one.number == 2:
                dtype, shape = self._type(one)
        return OnnxValue(name, dtype, shape)

    def _type(self, kind: Field) -> tuple[str, tuple[int, ...] | None]:
        """`TypeProto`: tensor_type 1, of which elem_type 1 and shape 2. Everything else is no tensor."""
        for one in self._reader.fields(self._reader.message(kind)):
            if one.number != 1:
                continue
            dtype, shape = "", None
            for inner in self._reader.fields(self._reader.message(one)):
                if inner.number == 1:
                    dtype = DTYPES.get(self._reader.signed(inner), ("", 0))[0]
                elif inner.number == 2:
                    shape = tuple(self._sides(inner))
            return dtype, shape
        return "", None

    def _sides(self, shape: Field) -> Iterator[int]:
        """`TensorShapeProto`: dim 1, of which dim_value 1 or dim_param 2."""
        count = 0
        for one in self._reader.fields(self._reader.message(shape)):
            if one.number != 1:
                continue
            count += 1
            if count > MAX_SIDES:
                raise self._window.refuse(f"has an input or output of more than {MAX_SIDES} sides.")
            side = 0
            for inner in self._reader.fields(self._reader.message(one)):
                if inner.number == 1 and inner.type == VARINT:
                    side = max(self._reader.signed(inner), 0)
            yield side
