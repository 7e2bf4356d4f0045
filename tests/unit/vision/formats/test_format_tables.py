# SPDX-License-Identifier: Apache-2.0
"""CSV files, and the metadata of Hugging Face's imagefolder."""

import pytest
from tests.dataset_trees import tree

from inglenook.vision.formats.model import ANOMALY, CLASSIFICATION, Entry, FormatError, Issue
from inglenook.vision.formats.registry import choose
from inglenook.vision.formats.tables import iso_date


def read(files, task=CLASSIFICATION, asked=None):
    form, inner = choose(tree(files), task, asked)
    parsed = form.parse(inner, task)
    return form, parsed, list(parsed.rows)


def pictures(*names):
    return dict.fromkeys(names, b"")


def test_rows_become_pictures_and_classes_come_as_they_are_first_seen():
    table = "filename,label\nb.png,dog\na.png,cat\nb2.png,dog\n"
    form, parsed, rows = read({"labels.csv": table, **pictures("a.png", "b.png", "images/b2.png")})
    assert form.name == "csv"
    assert parsed.classes == ("dog", "cat")
    assert [(row.path, row.label) for row in rows] == [
        ("b.png", "dog"),
        ("a.png", "cat"),
        ("images/b2.png", "dog"),
    ]


@pytest.mark.parametrize(
    "table",
    [
        "\ufeffFileName,LABEL\na.png,cat\n",
        "filename;label\r\na.png;cat\r\n",
        "label\tfilename\ncat\ta.png\n",
        '"filename","label"\n"a.png","cat"\n',
        "other,image,class\n1, a.png , cat \n",
    ],
)
def test_a_header_is_read_in_any_case_order_and_delimiter(table):
    _, _, rows = read({"table.csv": table, **pictures("a.png")})
    assert rows == [Entry("a.png", label="cat")]


def test_a_table_may_be_utf_16_as_spreadsheets_save_it():
    _, _, rows = read({"t.csv": "filename,label\na.png,ねこ\n".encode("utf-16"), **pictures("a.png")})
    assert rows == [Entry("a.png", label="ねこ")]


def test_groups_dates_and_subsets_are_taken_along():
    table = "filename,label,group,date,split\na.png,cat,tom,2026:01:02 03:04:05,Train\n"
    _, _, rows = read({"labels.csv": table, **pictures("a.png")})
    assert rows == [Entry("a.png", label="cat", group="tom", taken_at="2026-01-02T03:04:05", tags=("train",))]


def test_a_date_that_is_none_is_a_remark_and_the_picture_is_taken():
    table = "filename,label,date\na.png,cat,last summer\n"
    _, _, rows = read({"labels.csv": table, **pictures("a.png")})
    assert rows[0] == Entry("a.png", label="cat")
    assert (rows[1].reason, rows[1].skipped) == ("date", False)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd.png",
        "../secret.png",
        "a/../../b.png",
        "C:\\x.png",
        "\\\\host\\share\\x.png",
        "file:///x.png",
        "https://host/x.png",
    ],
)
def test_a_path_out_of_the_folder_is_refused_for_its_row_alone(path):
    _, _, rows = read({"labels.csv": f"filename,label\n{path},cat\na.png,cat\n", **pictures("a.png")})
    assert isinstance(rows[0], Issue)
    assert (rows[0].path, rows[0].reason) == ("labels.csv, row 2", "path_outside")
    assert rows[1] == Entry("a.png", label="cat")


def test_rows_that_cannot_be_taken_are_told_with_their_number():
    table = "filename,label\n,cat\nnone.png,cat\na.png,\na.png,cat\na.png,cat\na.png,dog\n"
    _, _, rows = read({"labels.csv": table, **pictures("a.png")})
    told = [(row.path, row.reason) for row in rows if isinstance(row, Issue)]
    assert told == [
        ("labels.csv, row 2", "row"),
        ("labels.csv, row 3", "missing_file"),
        ("labels.csv, row 4", "no_class"),
        ("labels.csv, row 6", "given_twice"),
        ("labels.csv, row 7", "given_twice"),
    ]
    assert "as dog, and before as cat" in rows[-1].message


def test_windows_separators_and_composed_letters_find_their_file():
    decomposed = "Ka\u0308tzchen.png"
    table = "filename,label\nimages\\Kätzchen.png,cat\n"
    _, _, rows = read({"labels.csv": table, **pictures(f"images/{decomposed}")})
    assert rows == [Entry(f"images/{decomposed}", label="cat")]


def test_labels_csv_wins_over_other_tables_and_several_others_are_refused():
    files = {"labels.csv": "filename,label\na.png,cat\n", "z.csv": "x\n1\n", **pictures("a.png")}
    _, _, rows = read(files)
    assert len(rows) == 1
    del files["labels.csv"]
    with pytest.raises(FormatError, match="2 CSV files"):
        read({**files, "y.csv": "x\n"})


@pytest.mark.parametrize("table", ["", "a,b\n1,2\n", "filename,label\n", "filename\na.png\n"])
def test_a_table_without_what_is_needed_is_refused_with_words(table):
    with pytest.raises(FormatError):
        read({"labels.csv": table, **pictures("a.png")})


def test_a_table_that_is_not_text_names_its_byte():
    with pytest.raises(FormatError, match="byte 15"):
        read({"labels.csv": b"filename,label\n\xff\xfe\xfa", **pictures("a.png")})


def test_anomaly_detection_reads_yes_and_no():
    table = "filename,is_anomalous\na.png,Yes\nb.png,0\nc.png,perhaps\n"
    _, parsed, rows = read({"labels.csv": table, **pictures("a.png", "b.png", "c.png")}, task=ANOMALY)
    assert parsed.classes == ("normal", "anomalous")
    assert rows[:2] == [Entry("a.png", anomalous=True), Entry("b.png", anomalous=False)]
    assert rows[2].reason == "no_class"


def test_metadata_of_an_imagefolder_is_read_at_the_top_and_in_each_subset():
    files = {
        "train/metadata.jsonl": '{"file_name": "a.png", "label": "cat"}\n{"file_name": "n.png"}\nno json\n',
        "test/metadata.csv": "file_name,label\nb.png,dog\n",
        **pictures("train/a.png", "test/b.png", "train/n.png"),
    }
    form, parsed, rows = read(files)
    assert form.name == "imagefolder"
    assert set(parsed.classes) == {"cat", "dog"}
    assert Entry("train/a.png", label="cat", tags=("train",)) in rows
    assert Entry("test/b.png", label="dog", tags=("test",)) in rows
    assert sorted(row.reason for row in rows if isinstance(row, Issue)) == ["no_class", "row"]


@pytest.mark.parametrize(
    ("given", "iso"),
    [
        ("2026-11-26", "2026-11-26T00:00:00"),
        ("2026:11:26 10:20:30", "2026-11-26T10:20:30"),
        ("", None),
        ("26.11.2026", None),
        ("2026:13:01", None),
    ],
)
def test_dates_become_iso_8601(given, iso):
    assert iso_date(given) == iso
