# SPDX-License-Identifier: Apache-2.0
"""COCO, YOLO, Pascal VOC, MVTec's layout, masks: read for their own tasks, named where they do not fit."""

import json

import pytest
from tests.dataset_trees import tree

from inglenook.base.errors import Invalid
from inglenook.vision.formats.boxes import in_pixels, voc_root
from inglenook.vision.formats.model import (
    ANOMALY,
    CLASSIFICATION,
    DETECTION,
    Entry,
    FormatError,
    Issue,
    NamedBox,
    WrongTask,
)
from inglenook.vision.formats.registry import FORMATS, choose, named


def read(files, task, asked=None):
    form, inner = choose(tree(files), task, asked)
    parsed = form.parse(inner, task)
    return form, parsed, list(parsed.rows)


def coco(annotations, *, images=("a.png", "b.png"), categories=((8, "dog"), (5, "cat"))):
    return json.dumps(
        {
            "info": {"year": 2026},
            "images": [{"id": n, "file_name": name, "width": 9} for n, name in enumerate(images, 1)],
            "annotations": annotations,
            "categories": [{"id": n, "name": name} for n, name in categories],
        }
    )


BOTH = {"a.png": b"", "b.png": b""}


def test_coco_classes_are_ordered_by_the_number_of_their_category():
    said = [{"image_id": 1, "category_id": 8}, {"image_id": 2, "category_id": 5}]
    form, parsed, rows = read({"x.json": coco(said), **BOTH}, CLASSIFICATION)
    assert form.name == "coco"
    assert parsed.classes == ("cat", "dog")
    assert rows == [Entry("a.png", label="dog"), Entry("b.png", label="cat")]


def test_coco_with_one_box_for_each_picture_can_be_classified():
    said = [
        {"image_id": 1, "category_id": 8, "bbox": [1, 2, 3, 4]},
        {"image_id": 1, "category_id": 8, "bbox": [2, 2, 3, 4]},
        {"image_id": 2, "category_id": 5, "bbox": [1, 2, 3, 4]},
    ]
    _, parsed, rows = read({"x.json": coco(said), **BOTH}, CLASSIFICATION)
    assert [row.label for row in rows] == ["dog", "cat"]
    assert "Boxes were left out" in parsed.about[0]


def test_coco_with_several_classes_in_a_picture_says_that_it_cannot_be_trained_yet():
    said = [{"image_id": 1, "category_id": n, "bbox": [1, 2, 3, 4]} for n in (5, 8)]
    files = {"x.json": coco([*said, {"image_id": 2, "category_id": 5, "bbox": [1, 1, 2, 2]}]), **BOTH}
    with pytest.raises(
        WrongTask, match=r"COCO data set with boxes .object detection., which cannot be trained"
    ):
        read(files, CLASSIFICATION)
    _, _, rows = read(files, CLASSIFICATION, asked="coco")
    assert [(row.path, getattr(row, "reason", "taken")) for row in rows] == [
        ("a.png", "several_classes"),
        ("b.png", "taken"),
    ]


def test_coco_gives_boxes_to_detection_and_leaves_crowds_out():
    said = [
        {"image_id": 1, "category_id": 5, "bbox": [10, 20, 30, 40]},
        {"image_id": 1, "category_id": 8, "bbox": [1, 1, 1, 1], "iscrowd": 1},
        {"image_id": 2, "category_id": 5, "bbox": [1, 1, 0, 4]},
    ]
    _, _, rows = read({"annotations/x.json": coco(said), "images/a.png": b"", "images/b.png": b""}, DETECTION)
    assert rows[0] == Entry("images/a.png", boxes=(NamedBox("cat", (10, 20, 30, 40)),))
    assert (rows[1].reason, rows[1].skipped) == ("box", False)
    assert rows[2] == Entry("images/b.png")


def test_coco_refuses_paths_out_of_the_folder_and_unknown_categories_one_by_one():
    said = [{"image_id": 3, "category_id": 99}, {"image_id": 4, "category_id": 5}]
    images = ("/etc/x.png", "../y.png", "a.png", "b.png")
    _, _, rows = read({"x.json": coco(said, images=images), **BOTH}, CLASSIFICATION)
    assert [row.reason for row in rows if isinstance(row, Issue)] == [
        "path_outside",
        "path_outside",
        "no_class",
    ]
    assert rows[-1] == Entry("b.png", label="cat")


def test_two_categories_of_one_name_are_one_class():
    said = [{"image_id": 1, "category_id": 1}, {"image_id": 2, "category_id": 2}]
    _, parsed, rows = read(
        {"x.json": coco(said, categories=((1, "cat"), (2, "cat"), (3, "dog"))), **BOTH}, CLASSIFICATION
    )
    assert parsed.classes == ("cat", "dog")
    assert {row.label for row in rows} == {"cat"}


def test_json_that_is_no_coco_is_no_coco():
    form, _, _ = read({"config.json": '{"images": []}', "cats/1.png": b""}, CLASSIFICATION)
    assert form.name == "image_folders"


def test_several_coco_files_are_named_and_annotations_json_wins():
    files = {"one.json": coco([]), "two.json": coco([]), **BOTH}
    with pytest.raises(FormatError, match="2 COCO files"):
        read(files, DETECTION)
    _, _, rows = read({**files, "annotations.json": coco([])}, DETECTION)
    assert len(rows) == 2


def test_yolo_boxes_are_converted_to_pixels():
    files = {
        "classes.txt": "cat\n\ndog\ncat\n",
        "images/a.png": b"",
        "images/b.png": b"",
        "labels/a.txt": "0 0.5 0.5 0.4 0.2\n",
    }
    form, parsed, rows = read(files, DETECTION)
    assert form.name == "yolo"
    assert parsed.classes == ("cat", "dog")
    assert in_pixels(rows[0].boxes[0], 200, 100) == (60, 40, 80, 20)
    assert rows[1] == Entry("images/b.png")  # no file of labels: nothing to be seen


def test_boxes_are_clipped_to_the_picture():
    assert in_pixels(NamedBox("a", (-5, -5, 10, 10)), 20, 20) == (0, 0, 5, 5)
    assert in_pixels(NamedBox("a", (30, 0, 10, 10)), 20, 20) is None


@pytest.mark.parametrize(
    "line", ["0 0.5 0.5 0.4", "9 .5 .5 .1 .1", "x .5 .5 .1 .1", "0 1.5 .5 .1 .1", "0 nan .5 .1 .1"]
)
def test_a_broken_line_of_yolo_leaves_its_picture_out_and_names_the_line(line):
    files = {"classes.txt": "cat", "images/a.png": b"", "labels/a.txt": f"0 .5 .5 .1 .1\n{line}"}
    _, _, rows = read(files, DETECTION)
    assert rows[0].reason == "box"
    assert "line 2" in rows[0].message


@pytest.mark.parametrize(
    "names", ["names: [cat, 'dog']\n", "nc: 2\nnames:\n  - cat\n  - dog\n", "names:\n  0: cat\n  1: dog\n"]
)
def test_yolo_names_may_be_in_a_yaml_file(names):
    _, parsed, _ = read({"data.yaml": names, "train/images/a.png": b"", "train/labels/a.txt": ""}, DETECTION)
    assert parsed.classes == ("cat", "dog")


VOC = """<annotation><filename>a.png</filename><object><name>cat</name>
<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>20</ymax></bndbox></object></annotation>"""


def test_pascal_voc_counts_pixels_from_one():
    files = {
        "Annotations/a.xml": VOC,
        "JPEGImages/a.png": b"",
        "Annotations/b.xml": "<annotation",
        "JPEGImages/b.png": b"",
    }
    form, parsed, rows = read(files, DETECTION)
    assert form.name == "pascal_voc"
    assert parsed.classes == ("cat",)
    assert rows[0] == Entry("JPEGImages/a.png", boxes=(NamedBox("cat", (0, 1, 10, 19)),))
    assert rows[1].reason == "box"


def test_xml_with_entities_is_refused_before_anything_is_expanded():
    bomb = b'<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>'
    with pytest.raises(FormatError, match="document type"):
        voc_root(bomb)


MVTEC = ("train/good/1.png", "test/good/2.png", "test/crack/3.png", "ground_truth/crack/3_mask.png")


def test_mvtec_is_read_for_anomaly_detection_and_its_masks_are_left_out():
    form, _, rows = read(dict.fromkeys(MVTEC, b""), ANOMALY)
    assert form.name == "mvtec"
    assert [(row.path, row.anomalous, row.tags) for row in rows] == [
        ("test/crack/3.png", True, ("test",)),
        ("test/good/2.png", False, ("test",)),
        ("train/good/1.png", False, ("train",)),
    ]


def test_mvtec_gives_its_defects_as_classes_when_a_person_says_so():
    with pytest.raises(WrongTask, match=r"MVTec's layout .anomaly detection."):
        read(dict.fromkeys(MVTEC, b""), CLASSIFICATION)
    _, parsed, rows = read(dict.fromkeys(MVTEC, b""), CLASSIFICATION, asked="mvtec")
    assert parsed.classes == ("crack", "good")
    assert {row.label for row in rows} == {"crack", "good"}


MASKED = {"images/1.jpg": b"", "images/2.jpg": b"", "masks/1.png": b"", "masks/2.png": b""}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (MASKED, "pictures with masks .segmentation."),
        (
            {"classes.txt": "cat", "images/a.png": b"", "labels/a.txt": ""},
            "YOLO data set .* .object detection.",
        ),
        ({"Annotations/a.xml": VOC, "JPEGImages/a.png": b""}, "Pascal VOC data set .* .object detection."),
    ],
)
def test_what_cannot_be_trained_yet_is_recognised_and_told_with_what_to_do(files, says):
    with pytest.raises(WrongTask, match=says) as told:
        read(files, CLASSIFICATION)
    assert "folder for each class" in (told.value.hint or "")


def test_a_project_of_another_task_is_told_apart():
    with pytest.raises(WrongTask, match="the project's task is regression"):
        read({"cats/1.png": b""}, "regression")


def test_a_format_is_named_in_several_ways_and_an_unknown_one_is_refused_with_the_list():
    assert named("Image-Folders").name == "image_folders"
    assert named("huggingface").name == "parquet"
    assert named("voc").name == "pascal_voc"
    with pytest.raises(Invalid, match="nonsense") as told:
        named("nonsense")
    assert all(form.name in (told.value.hint or "") for form in FORMATS)
