# SPDX-License-Identifier: Apache-2.0
"""House rules of the declaration: every setting is described, bounded, and carries its unit."""

import re
import typing
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from inglenook.images import model as image_limits
from inglenook.settings import Settings, load
from inglenook.settings.declaration import extra_of, sections
from inglenook.settings.problems import all_keys

ROOT = Path(__file__).parents[3]
SUFFIX_OF_UNIT = {
    "seconds": "_s",
    "hours": "_hours",
    "days": "_days",
    "bytes": "_bytes",
    "pixels": ("_px", "_pixels"),
}
COUNTS = {
    "jobs",
    "pictures",
    "frames",
    "steps",
    "levels",
    "threads",
    "port",
    "models",
    "tokens",
    "conversations",
    "experiments",
    "share",
}


def _numeric(annotation: object) -> bool:
    parts = typing.get_args(annotation) or (annotation,)
    return any(part in (int, float) for part in parts)


@pytest.mark.parametrize("key", all_keys())
def test_every_setting_says_what_it_does_in_one_sentence(key: str) -> None:
    section, _, name = key.partition(".")
    says = sections()[section].model_fields[name].description
    assert says is not None
    assert says.endswith(".")
    assert ". " not in says
    assert extra_of(sections()[section], name)["accepts"]


@pytest.mark.parametrize("key", all_keys())
def test_every_number_has_two_bounds_and_a_unit_that_its_name_carries(key: str) -> None:
    section, _, name = key.partition(".")
    field = sections()[section].model_fields[name]
    if not _numeric(field.annotation):
        return
    bounds = {rule for item in field.metadata for rule in ("ge", "gt", "le", "lt") if hasattr(item, rule)}
    assert bounds & {"ge", "gt"}, "no lower bound"
    assert bounds & {"le", "lt"}, "no upper bound"
    unit = extra_of(sections()[section], name)["unit"]
    assert unit in COUNTS or name.endswith(SUFFIX_OF_UNIT[unit])


@pytest.mark.parametrize("key", all_keys())
def test_every_list_and_map_has_a_longest_length(key: str) -> None:
    section, _, name = key.partition(".")
    if key == "runtime.devices":  # as many as there are devices
        return
    default = sections()[section].model_fields[name].get_default(call_default_factory=True)
    if isinstance(default, tuple | dict):
        assert any(hasattr(rule, "max_length") for rule in sections()[section].model_fields[name].metadata)


def test_every_setting_is_read_somewhere() -> None:
    source = "\n".join(file.read_text() for file in (ROOT / "src" / "inglenook").rglob("*.py"))
    unused = [key for key in all_keys() if not re.search(rf"\.{key.partition('.')[2]}\b", source)]
    assert unused == [], "a setting that nothing reads is a promise that nobody keeps"


def test_the_numeric_rules_see_most_of_the_settings() -> None:
    numbers = [
        key
        for key in all_keys()
        if _numeric(sections()[key.partition(".")[0]].model_fields[key.partition(".")[2]].annotation)
    ]
    assert len(numbers) >= 15


def test_defaults_pass_their_own_checks() -> None:
    defaults = Settings()
    for name, model in sections().items():
        section = getattr(defaults, name)
        again = model.model_validate({key: getattr(section, key) for key in model.model_fields})
        assert again == section


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().server.port = 1  # type: ignore[misc]


def test_limits_stay_within_what_a_request_can_express() -> None:
    fields = sections()["images"].model_fields

    def upper(name: str) -> int:
        return next(rule.le for rule in fields[name].metadata if hasattr(rule, "le"))

    assert upper("max_side_px") == image_limits.MAX_SIDE_PX
    assert upper("max_steps") == image_limits.MAX_STEPS
    assert upper("max_pictures") == image_limits.MAX_PICTURES
    assert upper("max_pixels") == image_limits.MAX_SIDE_PX**2


def test_a_secret_is_masked_in_every_form_of_text() -> None:
    url = "postgresql://app:swordfish@db/inglenook"
    settings = load(file=None, environ={"INGLENOOK_STORE__DATABASE_URL": url}).settings
    assert isinstance(settings.store.database_url, SecretStr)
    assert settings.store.database_url.get_secret_value() == url
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert "swordfish" not in text


def test_the_data_folders_own_models_come_first(tmp_path: Path) -> None:
    loaded = load(
        file=None,
        environ={
            "INGLENOOK_SERVER__DATA": str(tmp_path),
            "INGLENOOK_MODELS__FOLDERS": str(tmp_path / "more"),
        },
    )
    assert loaded.settings.model_folders == (tmp_path / "models", tmp_path / "more")
