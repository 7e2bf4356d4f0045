# SPDX-License-Identifier: Apache-2.0
"""Parquet and Arrow files as Hugging Face's `datasets` writes them."""

import json
import zipfile

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.dataset_trees import picture
from tests.unit.workers.dataset.reading import put, read

from inglenook.vision.formats.model import FormatError, WrongTask
from inglenook.wire.studio.dataset import ArchiveSource, Listed, ListedSource, TableSource

FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": ["cat", "dog", "bird"], "_type": "ClassLabel"},
}


def table(count=3, *, features=FEATURES, start=0):
    numbers = range(start, start + count)
    images = [{"bytes": picture(n), "path": f"{n}.png"} for n in numbers]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    made = pa.table(
        {"image": pa.array(images, kind), "label": pa.array([n % 2 for n in numbers], pa.int64())}
    )
    info = {"info": {"features": features}} if features else {}
    return made.replace_schema_metadata({"huggingface": json.dumps(info)})


def test_labels_get_the_names_of_the_schema_and_unused_classes_stay(tmp_path):
    pq.write_table(table(), tmp_path / "train-00000-of-00001.parquet")
    heard = read(TableSource(path=str(tmp_path / "train-00000-of-00001.parquet")), tmp_path / "out")
    assert heard.labels == {"cat/0.png": "cat", "dog/1.png": "dog", "cat/2.png": "cat"}
    assert heard.last is not None
    assert heard.last.classes == ("cat", "dog", "bird")
    assert heard.pictures[0].tags == ("train",)


def test_a_folder_with_a_card_and_several_files_is_read_whole(tmp_path):
    root = put(tmp_path / "in", {"README.md": b"---\nlicense: mit\n---", ".gitattributes": b""})
    (root / "data").mkdir()
    pq.write_table(table(2), root / "data" / "train-00000-of-00002.parquet")
    pq.write_table(table(2, start=2), root / "data" / "train-00001-of-00002.parquet")
    pq.write_table(table(1, start=9), root / "data" / "test-00000-of-00001.parquet")
    heard = read(root, tmp_path / "out")
    assert heard.found is not None
    assert (heard.found.format, heard.found.files) == ("parquet", 5)
    assert sorted(one.tags for one in heard.pictures) == [("test",)] + [("train",)] * 4


def test_a_folder_of_save_to_disk_is_read(tmp_path):
    root = put(tmp_path / "in", {"dataset_dict.json": b'{"splits": ["train"]}', "train/state.json": b"{}"})
    made = table()
    with pa.OSFile(str(root / "train" / "data-00000-of-00001.arrow"), "wb") as sink:
        with pa.ipc.new_stream(sink, made.schema) as writer:
            writer.write_table(made)
    heard = read(root, tmp_path / "out")
    assert len(heard.pictures) == 3
    assert heard.pictures[1].label == "dog"


def test_an_arrow_file_of_the_other_kind_is_read_too(tmp_path):
    made = table()
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink:
        with pa.ipc.new_file(sink, made.schema) as writer:
            writer.write_table(made)
    assert len(read(TableSource(path=str(tmp_path / "a.arrow")), tmp_path / "out").pictures) == 3


def test_a_table_without_the_hub_s_schema_is_read_by_its_names(tmp_path):
    made = pa.table({"img": [picture(1), picture(2)], "category": ["cat", "dog"]})
    pq.write_table(made, tmp_path / "a.parquet")
    heard = read(TableSource(path=str(tmp_path / "a.parquet")), tmp_path / "out")
    assert [one.label for one in heard.pictures] == ["cat", "dog"]
    assert heard.pictures[0].original == "cat/a-000001.png"


def test_rows_that_hold_no_picture_are_left_out_with_their_number(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = [
        {"bytes": None, "path": "/etc/passwd"},
        None,
        {"bytes": b"junk", "path": "../x.png"},
        {"bytes": picture(1), "path": None},
        {"bytes": picture(2), "path": "../../up.png"},
    ]
    made = pa.table({"image": pa.array(images, kind), "label": pa.array([0, 1, 1, 7, -1], pa.int64())})
    made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": FEATURES}})})
    pq.write_table(made, tmp_path / "a.parquet")
    heard = read(TableSource(path=str(tmp_path / "a.parquet")), tmp_path / "out")
    assert heard.reasons == {
        "a.parquet, row 1": "missing_file",
        "a.parquet, row 2": "missing_file",
        "dog/x.png": "not_a_picture",
        "a.parquet, row 4": "no_class",
    }
    assert heard.labels == {"unlabelled/up.png": None}


def test_a_table_without_pictures_is_refused_with_its_columns(tmp_path):
    pq.write_table(pa.table({"text": ["a"], "label": [1]}), tmp_path / "a.parquet")
    with pytest.raises(FormatError, match="text, label"):
        read(TableSource(path=str(tmp_path / "a.parquet")), tmp_path / "out")


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_damaged_table_is_refused_with_words(tmp_path, name):
    (tmp_path / name).write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(FormatError, match="cannot be read"):
        read(TableSource(path=str(tmp_path / name)), tmp_path / "out")


def test_a_table_in_an_archive_is_read(tmp_path):
    pq.write_table(table(), tmp_path / "t.parquet")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "t.parquet", "set/data/train.parquet")
    heard = read(ArchiveSource(path=str(tmp_path / "a.zip")), tmp_path / "out")
    assert len(heard.pictures) == 3


def test_a_table_is_for_classification(tmp_path):
    pq.write_table(table(), tmp_path / "a.parquet")
    with pytest.raises(WrongTask):
        read(TableSource(path=str(tmp_path / "a.parquet")), tmp_path / "out", task="object_detection")


def listed(tmp_path, rows, *, labelled):
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return ListedSource(manifest=str(path), labelled=labelled)


def test_files_that_were_listed_with_their_classes_keep_them(tmp_path):
    files = put(tmp_path / "up", {"f0": picture(1), "f1": picture(2)})
    rows = [
        Listed(file=str(files / "f0"), original="a.png", label="cat", tags=("x",)),
        Listed(file=str(files / "f1"), original="b.png"),
        Listed(file=str(files / "gone"), original="c.png", label="cat"),
    ]
    heard = read(listed(tmp_path, rows, labelled=True), tmp_path / "out")
    assert heard.labels == {"a.png": "cat", "b.png": None}
    assert heard.pictures[0].tags == ("x",)
    assert heard.reasons == {"c.png": "unreadable"}


def test_files_that_were_dropped_get_their_classes_from_their_folders_or_a_table(tmp_path):
    files = put(tmp_path / "up", {"f0": picture(1), "f1": picture(2), "f2": b"filename,label\n1.png,cat\n"})
    by_folder = [
        Listed(file=str(files / "f0"), original="cats/1.png"),
        Listed(file=str(files / "f1"), original="dogs/2.png"),
    ]
    assert read(listed(tmp_path, by_folder, labelled=False), tmp_path / "out").labels == {
        "cats/1.png": "cats",
        "dogs/2.png": "dogs",
    }
    by_table = [
        Listed(file=str(files / "f0"), original="1.png"),
        Listed(file=str(files / "f2"), original="labels.csv"),
    ]
    assert read(listed(tmp_path, by_table, labelled=False), tmp_path / "out2").labels == {"1.png": "cat"}
