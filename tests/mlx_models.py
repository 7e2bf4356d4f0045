# SPDX-License-Identifier: Apache-2.0
"""Models converted for MLX, in this process; torch is not imported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import inglenook
from inglenook.base.clock import SystemClock
from inglenook.wire.message import Message
from inglenook.wire.mlx import Converted, ConvertLastWord, ConvertModel, Source
from inglenook.workers.mlx.convert.worker import convert

STARTER = Path(inglenook.__file__).parent / "catalog" / "builtin" / "starter-339"


def wish(path: Path, target: Path, family: str = "sd1", **more: Any) -> ConvertModel:
    usual: dict[str, Any] = {
        "job": "job-1",
        "path": str(path),
        "layout": "folder" if path.is_dir() else "single",
        "family": family,
        "target": str(target),
        "dtype": "float32",
        "source": Source(model=path.name, path=str(path), digest="d" * 64),
    }
    return ConvertModel(**{**usual, **more})


def run(
    wished: ConvertModel,
    *,
    tell: Callable[[Message], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> ConvertLastWord:
    return convert(wished, tell=tell, should_stop=should_stop, clock=SystemClock())


def converted(path: Path, target: Path, family: str = "sd1", **more: Any) -> Path:
    last = run(wish(path, target, family, **more))
    assert isinstance(last, Converted), last
    return target
