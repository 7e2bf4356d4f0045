# SPDX-License-Identifier: Apache-2.0
"""Which engine draws a request, and why one does not."""

from dataclasses import replace

import pytest

from inglenook.base.errors import InglenookError
from inglenook.base.ids import ModelId
from inglenook.catalog.model import ModelRecord
from inglenook.images.engines import DrawingEngine, Engines
from inglenook.images.model import Engine
from tests.unit.images.test_request import MODEL

CONVERTED = replace(MODEL, id=ModelId("mlx/model"))
OTHER = replace(MODEL, id=ModelId("other"))


def engine(name: Engine, **fields: object) -> DrawingEngine:
    usual: dict[str, object] = {
        "engine": name,
        "title": name.value,
        "missing": lambda: None,
        "draws": lambda model: model,
        "needs_conversion": False,
        "modes": ("text",),
        "loras": True,
        "previews": True,
    }
    return DrawingEngine(**usual | fields)  # type: ignore[arg-type] # as the fields are named


def conversion(model: ModelRecord) -> ModelRecord | None:
    return CONVERTED if model.id == MODEL.id else None


MLX = engine(Engine.MLX, draws=conversion, needs_conversion=True, loras=False)
TORCH = engine(Engine.TORCH)
GONE = engine(Engine.SDCPP, missing=lambda: ("sd-server is not here.", "put it on PATH"))


def test_auto_takes_the_first_that_is_here_and_can() -> None:
    engines = Engines([GONE, MLX, TORCH])
    assert engines.choose(Engine.AUTO, MODEL, loras=False) == (Engine.MLX, CONVERTED)
    assert engines.choose(Engine.AUTO, OTHER, loras=False) == (Engine.TORCH, OTHER)
    assert engines.choose(Engine.AUTO, MODEL, loras=True) == (Engine.TORCH, MODEL), "MLX here takes no LoRAs"


def test_auto_passes_over_an_engine_that_lacks_what_is_asked_for() -> None:
    engines = Engines([replace(MLX, lacks=frozenset({"vae"})), TORCH])
    assert engines.choose(Engine.AUTO, MODEL, loras=False, needs=frozenset({"vae"}))[0] is Engine.TORCH
    assert engines.choose(Engine.AUTO, MODEL, loras=False, needs=frozenset({"hires"}))[0] is Engine.MLX


def test_the_reason_is_that_of_an_engine_which_would_draw_the_model() -> None:
    other = engine(Engine.MLX, missing=lambda: ("No MLX.", None), draws=lambda _: None)
    with pytest.raises(InglenookError, match="sd-server is not here"):
        Engines([other, GONE]).choose(Engine.AUTO, MODEL, loras=False)


@pytest.mark.parametrize(
    ("wanted", "model", "loras", "code"),
    [
        (Engine.SDCPP, MODEL, False, "engine.not_installed"),
        (Engine.MLX, OTHER, False, "model.not_converted"),
        (Engine.MLX, MODEL, True, "lora.unsupported_engine"),
    ],
)
def test_an_engine_that_is_named_draws_or_says_why_not(
    wanted: Engine, model: ModelRecord, loras: bool, code: str
) -> None:
    with pytest.raises(InglenookError) as refused:
        Engines([GONE, MLX, TORCH]).choose(wanted, model, loras=loras)
    assert refused.value.code == code
    assert refused.value.hint


def test_an_engine_that_the_program_does_not_know_is_not_here() -> None:
    with pytest.raises(InglenookError) as refused:
        Engines([TORCH]).choose(Engine.MLX, MODEL, loras=False)
    assert refused.value.code == "engine.not_installed"


def test_without_any_engine_the_reason_is_that_of_the_first() -> None:
    with pytest.raises(InglenookError, match="sd-server is not here") as refused:
        Engines([GONE]).choose(Engine.AUTO, MODEL, loras=False)
    assert refused.value.hint == "put it on PATH"


def test_the_matrix_tells_what_each_can_draw_with() -> None:
    rows = {row.name: row for row in Engines([GONE, MLX, TORCH]).statuses([MODEL, OTHER])}
    assert (rows[Engine.SDCPP].available, rows[Engine.SDCPP].why_not) == (False, "sd-server is not here.")
    assert rows[Engine.MLX].models == (MODEL.id,)
    assert rows[Engine.TORCH].models == (MODEL.id, OTHER.id)
    assert rows[Engine.TORCH].as_json()["loras"] is True
