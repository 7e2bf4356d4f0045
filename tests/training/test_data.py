# SPDX-License-Identifier: Apache-2.0
"""Stage 1: what is read from the packages, and what is refused."""

import json
from pathlib import Path

import pytest
from training.starter import data
from training.starter.vocabulary import Noun


def package(root: Path, name: str, licence: str, info_licence: str | None = None) -> None:
    """Write a package's metadata."""
    (root / name).mkdir(parents=True)
    (root / name / "package.json").write_text(json.dumps({"version": "1.0", "license": licence}))
    if info_licence is not None:
        info = {"license": {"spdx": info_licence}, "author": {"name": "A. Painter"}}
        (root / name / "info.json").write_text(json.dumps(info))


def test_a_package_whose_licence_is_not_the_expected_one_is_refused(tmp_path: Path) -> None:
    package(tmp_path, "fine", "MIT", "MIT")
    package(tmp_path, "changed", "MIT", "CC-BY-4.0")
    assert data.checked_licence(tmp_path, "fine", "MIT")["author"] == "A. Painter"
    with pytest.raises(ValueError, match="changed states"):
        data.checked_licence(tmp_path, "changed", "MIT")


def test_the_notice_of_a_licence_file_is_recorded(tmp_path: Path) -> None:
    package(tmp_path, "fine", "MIT")
    (tmp_path / "fine" / "LICENSE").write_text("The MIT License\n\nCopyright (c) 2014 Somebody\n")
    assert data.checked_licence(tmp_path, "fine", "MIT")["notice"] == "Copyright (c) 2014 Somebody"


def test_no_set_is_used_that_forbids_or_conditions_use() -> None:
    assert {item.spdx for item in data.SETS} <= {"MIT", "Apache-2.0"}
    assert not any("fxemoji" in item.package for item in data.SETS)
    assert sum(item.share for item in data.SETS) == pytest.approx(1)


def test_an_icon_is_found_by_unicode_name_or_alias() -> None:
    icons = {
        "height": 32,
        "icons": {"t-rex": {"body": "<g/>"}},
        "aliases": {"womans-hat": {"parent": "t-rex"}},
    }
    assert data.find_icon(icons, "T-Rex") == {"left": 0, "top": 0, "width": 16, "height": 32, "body": "<g/>"}
    assert data.find_icon(icons, "woman’s hat") is not None
    assert data.find_icon(icons, "kite") is None


def test_keywords_keep_only_words_that_name_one_noun(tmp_path: Path) -> None:
    listed = {"1": ["cat", "feline", "pet", "animal", "a b"], "2": ["dog", "pet", "hound", "red"]}
    (tmp_path / "emojilib" / "dist").mkdir(parents=True)
    (tmp_path / "emojilib" / "dist" / "emoji-en-US.json").write_text(json.dumps(listed))
    nouns = [Noun("1", ("cat",), "cat", ()), Noun("2", ("dog",), "dog", ())]
    assert data.keywords(tmp_path, nouns) == {"cat": ["feline"], "dog": ["hound"]}
