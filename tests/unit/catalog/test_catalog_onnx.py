# SPDX-License-Identifier: Apache-2.0
"""ONNX files: what is read of them, and that nothing in them can make reading dear."""

import contextlib
import json
import time
import tracemalloc
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.onnx_files import LABELS, colours, metadata, write_colours

from inglenook.catalog.errors import CorruptModel
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.catalog.onnx import MAX_FIELDS, OnnxHeader, read_onnx
from inglenook.catalog.service import CatalogService
from inglenook.vision.preprocessing import CenterCrop, Resize

onnx = pytest.importorskip("onnx")
MIB = 1024 * 1024


def varint(value: int) -> bytes:
    out = bytearray()
    while True:
        value, byte = value >> 7, value & 127
        out.append(byte | (128 if value else 0))
        if not value:
            return bytes(out)


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def block(field: int, data: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(data)) + data


VERSION = number(1, 10)


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], OnnxHeader]:
    def reading(data: bytes) -> OnnxHeader:
        path = tmp_path / "m.onnx"
        path.write_bytes(data)
        return read_onnx(path)

    return reading


Read = Callable[[bytes], OnnxHeader]


def the_record(root: Path) -> ModelRecord:
    (found,) = CatalogService(roots=[root], builtin=root / "none").list()
    return found


# what is read


def test_inputs_outputs_metadata_and_weights_are_read(read: Read) -> None:
    header = read(colours())
    assert [(one.name, one.dtype, one.shape) for one in header.inputs] == [("image", "float32", (0, 3, 8, 8))]
    assert [(one.name, one.shape) for one in header.outputs] == [("scores", (0, 3))]
    assert json.loads(header.metadata["inglenook.labels"]) == list(LABELS)
    assert (header.opset, header.producer) == (18, "tests")
    assert (header.scalars["float32"], header.bytes_of["float32"]) == (9, 36)


def test_large_weights_are_passed_over_unread(tmp_path: Path) -> None:
    weight = block(9, bytes(64 * MIB)) + number(2, 3) + number(1, 64 * MIB)
    path = tmp_path / "m.onnx"
    path.write_bytes(VERSION + block(7, block(5, weight)))
    tracemalloc.start()
    try:
        header = read_onnx(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert header.scalars["int8"] == 64 * MIB
    assert peak < MIB


def test_the_studios_own_models_say_everything(tmp_path: Path) -> None:
    told = metadata(title="Traffic lights", licence="CC0", lineage='{"experiment": "exp-1"}')
    write_colours(tmp_path / "lights.onnx", told=told)
    record = the_record(tmp_path)
    assert (record.kind, record.problem, record.title) == (ModelKind.VISION, None, "Traffic lights")
    assert record.licence == "CC0"
    facts = record.vision
    assert facts is not None
    assert (facts.labels, facts.labelled, facts.told) == (LABELS, True, True)
    assert (facts.layout, facts.height, facts.width, facts.batch) == ("NCHW", 8, 8, 0)
    assert facts.lineage == {"experiment": "exp-1"}
    assert facts.preprocessing.steps == (Resize(size=(8, 8)),)


def test_somebody_elses_classifier_gets_numbered_labels_and_the_customary_steps(tmp_path: Path) -> None:
    write_colours(tmp_path / "resnet.onnx", told={}, side=224, softmax=True)
    facts = the_record(tmp_path).vision
    assert facts is not None
    assert (facts.labels, facts.labelled, facts.told) == (("0", "1", "2"), False, False)
    assert facts.scores == "probabilities"
    assert facts.preprocessing.steps[:2] == (Resize(size=(256,)), CenterCrop(size=(224, 224)))


@pytest.mark.parametrize("text", ['["a", "b", "c"]', '{"0": "a", "1": "b", "2": "c"}'])
def test_names_of_other_exporters_are_taken_where_they_are_as_many(tmp_path: Path, text: str) -> None:
    write_colours(tmp_path / "m.onnx", told={"names": text})
    facts = the_record(tmp_path).vision
    assert facts is not None
    assert facts.labels == ("a", "b", "c")


@pytest.mark.parametrize("text", ['["a"]', "[1, 2, 3]", "{'0': 'a'}", "[" * 100_000, '["", "a", "b"]'])
def test_names_that_do_not_fit_are_passed_over(tmp_path: Path, text: str) -> None:
    write_colours(tmp_path / "m.onnx", told={"names": text})
    facts = the_record(tmp_path).vision
    assert facts is not None
    assert facts.labels == ("0", "1", "2")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (metadata(labels=("a", "b")), "name 2 classes and its output has 3"),
        (metadata(preprocessing={"steps": [{"step": "resize", "size": [9, 9]}]}), "takes 8 x 8"),
        (metadata(preprocessing={"steps": [{"step": "blur"}]}), "inglenook.preprocessing"),
        ({**metadata(), "inglenook.schema": "2"}, "version 2"),
        ({**metadata(), "inglenook.task": "object_detection"}, "object_detection"),
    ],
)
def test_metadata_that_contradict_the_model_are_its_problem(
    tmp_path: Path, told: dict[str, str], words: str
) -> None:
    write_colours(tmp_path / "m.onnx", told=told)
    assert words in (the_record(tmp_path).problem or "")


def test_a_person_can_name_the_classes_beside_the_file(tmp_path: Path) -> None:
    path = write_colours(tmp_path / "m.onnx", told={})
    notes = {"schema": 1, "vision": {"labels": ["x", "y", "z"], "scores": "probabilities"}}
    beside = path.with_name("m.onnx.inglenook.json")
    beside.write_text(json.dumps(notes))
    facts = the_record(tmp_path).vision
    assert facts is not None
    assert (facts.labels, facts.labelled, facts.scores) == (("x", "y", "z"), True, "probabilities")
    notes["vision"] = {"labels": ["x"]}
    beside.write_text(json.dumps(notes))
    assert "vision.labels: there are 1" in (the_record(tmp_path).problem or "")


def test_a_model_that_is_no_classifier_of_pictures_says_what_it_is(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    taken = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["n", 77])
    given_out = helper.make_tensor_value_info("hidden", TensorProto.INT64, ["n", 77])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["tokens"], ["hidden"])], "t", [taken], [given_out]
    )
    (tmp_path / "clip.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    record = the_record(tmp_path)
    assert record.kind is ModelKind.OTHER
    assert "takes no pictures: inputs tokens int64[?,77]" in (record.problem or "")


def test_weights_beside_the_model_count_and_must_be_there(tmp_path: Path) -> None:
    model = onnx.load_from_string(colours())
    onnx.external_data_helper.convert_model_to_external_data(
        model, location="m.onnx.data", size_threshold=0, convert_attribute=False
    )
    onnx.save_model(model, tmp_path / "m.onnx")
    record = the_record(tmp_path)
    assert record.problem is None
    assert record.weights_bytes == (tmp_path / "m.onnx.data").stat().st_size
    assert record.vision is not None
    assert record.vision.outside == (tmp_path / "m.onnx.data",)
    (tmp_path / "m.onnx.data").unlink()
    assert "m.onnx.data is missing" in (the_record(tmp_path).problem or "")


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/b", "..", "C:x", "a\\b"])
def test_weights_are_never_read_from_elsewhere(tmp_path: Path, location: str) -> None:
    entry = block(13, block(1, b"location") + block(2, location.encode()))
    tensor = number(1, 1) + number(2, 1) + number(14, 1) + entry
    (tmp_path / "m.onnx").write_bytes(VERSION + block(7, block(5, tensor)))
    assert "no plain file name" in (the_record(tmp_path).problem or "")


def test_weights_in_a_graph_inside_a_node_are_seen_too(tmp_path: Path) -> None:
    entry = block(13, block(1, b"location") + block(2, b"../x"))
    inner = block(7 - 1, block(5, number(1, 1) + number(2, 1) + number(14, 1) + entry))
    node = block(4, b"If") + block(5, inner)
    (tmp_path / "m.onnx").write_bytes(VERSION + block(7, block(1, node)))
    assert "'../x'" in (the_record(tmp_path).problem or "")


# what is refused


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no version"),
        (VERSION, "not one graph"),
        (VERSION + block(7, b"") * 2, "not one graph"),
        (b"GGUF" + bytes(100), "no protobuf message"),
        (VERSION + varint(7 << 3 | 2) + varint(1 << 60), "announces 1152921504606846976 bytes"),
        (VERSION + varint(7 << 3 | 2) + varint(50) + b"x", "announces 50 bytes"),
        (VERSION + b"\xff" * 11, "over 10 bytes"),
        (VERSION + varint(7 << 3 | 3), "type 3"),
        (VERSION + block(7, block(5, number(1, 1 << 62) * 2 + number(2, 1))), "sides that cannot be"),
        (VERSION + block(7, block(5, number(1, 2**64 - 1) + number(2, 1))), "sides that cannot be"),
        (VERSION + block(7, block(5, number(1, 5) + number(2, 1) + block(9, b"1234"))), "needs 20"),
        (VERSION + block(7, block(5, number(1, 5) + number(2, 99))), "type 99"),
        (VERSION + block(7, block(5, number(1, 1) * 20)), "sides"),
        (VERSION + block(14, block(1, b"k" * 5000)), "5000 bytes"),
        (VERSION + number(7, 1), "where a message belongs"),
    ],
)
def test_a_file_that_is_none_is_refused_with_the_reason(read: Read, data: bytes, words: str) -> None:
    with pytest.raises(CorruptModel, match=r"m\.onnx") as caught:
        read(data)
    assert words in caught.value.message


def test_graphs_in_graphs_end_somewhere(read: Read) -> None:
    graph = b""
    for _ in range(200):
        graph = block(1, block(5, block(6, graph)))
    with pytest.raises(CorruptModel, match="deeper than"):
        read(VERSION + block(7, graph))


@pytest.mark.slow
def test_millions_of_empty_fields_are_refused_in_bounded_time(read: Read) -> None:
    began = time.process_time()
    with pytest.raises(CorruptModel, match=f"more than {MAX_FIELDS} fields"):
        read(VERSION + block(7, number(3, 0) * (MAX_FIELDS + 1)))
    assert time.process_time() - began < 20


@cache
def small() -> bytes:
    return colours(told=metadata(lineage="{}"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_and_never_costs_much(tmp_path: Path, data: Any) -> None:
    whole = bytearray(small())
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    del whole[data.draw(st.integers(0, len(whole))) :]
    path = tmp_path / "m.onnx"
    path.write_bytes(whole)
    tracemalloc.start()
    try:
        with contextlib.suppress(CorruptModel):
            read_onnx(path)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400))
def test_any_bytes_give_a_record_and_no_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    record = the_record(tmp_path)
    assert record.problem is not None


def test_classifiers_that_come_with_the_onnx_package_are_recognised(tmp_path: Path) -> None:
    known = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    files = sorted(known.glob("light_*.onnx"))
    assert len(files) >= 5
    for file in files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    records = CatalogService(roots=[tmp_path], builtin=tmp_path / "none").list()
    for record in records:
        facts = record.vision
        assert record.kind is ModelKind.VISION, record.problem
        assert facts is not None
        assert (facts.height, facts.width, len(facts.labels), facts.batch) == (224, 224, 1000, 1)
