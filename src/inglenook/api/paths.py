# SPDX-License-Identifier: Apache-2.0
"""The field that an error names, as its client wrote it: what is inside another field with the way to it."""

from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager

from inglenook.base.errors import InglenookError


@contextmanager
def told(path: Callable[[str], str]) -> Iterator[None]:
    """Errors out of the block name their field by `path` of what they named before.

    Raises what the block raises.
    """
    try:
        yield
    except InglenookError as error:
        if error.field is not None:
            error.field = path(error.field)
        raise


def inside(outer: str, fields: Container[str] | None = None) -> Callable[[str], str]:
    """``colors`` → ``recipe.colors``.

    Args:
        fields: those that are inside of it; None for all.
    """
    return lambda field: f"{outer}.{field}" if fields is None or _first(field) in fields else field


def renamed(names: Mapping[str, str]) -> Callable[[str], str]:
    """``frames.2`` → ``image.2``, where `names` has ``frames`` as ``image``."""

    def path(field: str) -> str:
        first = _first(field)
        return names.get(first, first) + field[len(first) :]

    return path


def _first(field: str) -> str:
    return field.partition(".")[0]
