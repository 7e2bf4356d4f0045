# SPDX-License-Identifier: Apache-2.0
"""Whatever a data set's files hold: it is read, or refused with words, and no row leads out of it."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.dataset_trees import tree, unless_refused

from inglenook.vision.formats.model import ANOMALY, CLASSIFICATION, DETECTION, Entry, class_name, safe_path
from inglenook.vision.formats.registry import NAMES, choose

pytestmark = pytest.mark.slow

MANY = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))

NAMES_OF_FILES = st.sampled_from(
    [
        "labels.csv",
        "x.csv",
        "annotations.json",
        "annotations/a.json",
        "train/_annotations.coco.json",
        "classes.txt",
        "data.yaml",
        "labels/a.txt",
        "images/a.png",
        "Annotations/a.xml",
        "JPEGImages/a.jpg",
        "metadata.csv",
        "train/metadata.jsonl",
        "train/good/1.png",
        "test/good/1.png",
        "ground_truth/crack/1.png",
        "masks/a.png",
        "cats/1.png",
        "cats/deep/er/1.png",
        "ネコ/1.png",
        "a.png",
        "wrap/cats/1.png",
        "data/train.parquet",
    ]
)
PATHS = st.sampled_from(
    ["a.png", "images/a.png", "../a.png", "/etc/x", "C:\\a.png", "cats/1.png", "\0", "", "..", "."]
)
WORDS = (
    st.text(max_size=12) | PATHS | st.sampled_from(["cat", "dog", "1", "0.5", "nan", "-1", "1e999", "train"])
)
TABLE = st.builds(
    lambda head, rows, gap: "\n".join([gap.join(head), *(gap.join(row) for row in rows)]),
    st.lists(
        st.sampled_from(["filename", "label", "group", "date", "split", "is_anomalous"]) | WORDS, max_size=6
    ),
    st.lists(st.lists(WORDS, max_size=6), max_size=6),
    st.sampled_from([",", ";", "\t"]),
)
PLAIN = st.none() | st.booleans() | st.integers(-5, 9) | st.floats() | WORDS
JSONS = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3)
)
COCO = st.fixed_dictionaries(
    {
        "images": st.lists(st.fixed_dictionaries({"id": PLAIN, "file_name": PLAIN}), max_size=4),
        "annotations": st.lists(
            st.fixed_dictionaries({"image_id": PLAIN, "category_id": PLAIN, "bbox": JSONS, "iscrowd": PLAIN}),
            max_size=5,
        ),
        "categories": st.lists(st.fixed_dictionaries({"id": PLAIN, "name": PLAIN}), max_size=4),
    }
)
XML = st.builds(
    "<annotation><filename>{}</filename><object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin>"
    "<xmax>{}</xmax><ymax>{}</ymax></bndbox></object></annotation>".format,
    *[WORDS] * 6,
)
CONTENTS = (
    st.binary(max_size=60)
    | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))
    | TABLE.map(lambda text: text.encode("utf-8", "replace"))
    | (JSONS | COCO).map(lambda value: json.dumps(value).encode())
    | XML.map(lambda text: text.encode("utf-8", "replace"))
    | st.lists(st.lists(WORDS, max_size=6).map(" ".join), max_size=4).map(
        lambda lines: "\n".join(lines).encode("utf-8", "replace")
    )
)


@MANY
@given(
    files=st.dictionaries(NAMES_OF_FILES, CONTENTS, max_size=7),
    task=st.sampled_from([CLASSIFICATION, DETECTION, ANOMALY, "regression"]),
    asked=st.none() | st.sampled_from(NAMES),
)
def test_any_listing_is_read_or_refused_with_words(files, task, asked):
    def work():
        form, inner = choose(tree(files), task, asked)
        parsed = form.parse(inner, task)
        return inner, parsed, list(parsed.rows)

    found = unless_refused(work)
    if found is None:
        return
    inner, parsed, rows = found
    for row in rows:
        if isinstance(row, Entry):
            assert inner.prefix + row.path in files
            assert row.label is None or row.label in parsed.classes
            assert all(box.class_name in parsed.classes for box in row.boxes)
        else:
            assert row.message


@MANY
@given(st.text(max_size=40))
def test_a_safe_path_stays_inside(given_path):
    path = safe_path(given_path)
    if path is not None:
        assert not path.startswith("/")
        assert ".." not in path.split("/")
        assert "\\" not in path
        assert "\0" not in path


@MANY
@given(st.text(max_size=300))
def test_a_class_is_kept_as_one_line_and_stays_what_it_is(given_name):
    name = class_name(given_name)
    if name is not None:
        assert name.isprintable()
        assert class_name(name) == name
