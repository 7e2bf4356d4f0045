# SPDX-License-Identifier: Apache-2.0
import pytest

from inglenook.speech.languages import NAMES, code_of, name_of


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("en", "en"),
        ("EN", "en"),
        ("en-US", "en"),
        ("pt_BR", "pt"),
        ("German", "de"),
        (" german ", "de"),
        ("haitian creole", "ht"),
        ("yue", "yue"),
        ("jv", "jw"),
        ("english-us", "en"),
        ("xx", None),
        ("", None),
        ("e", None),
    ],
)
def test_a_language_is_meant_by_code_or_name(text: str, code: str | None) -> None:
    assert code_of(text) == code


def test_every_name_and_code_leads_back_to_its_code() -> None:
    assert len(NAMES) == 100
    for code, name in NAMES.items():
        assert code_of(code) == code
        assert code_of(name) == code
        assert name_of(code) == name.lower()
