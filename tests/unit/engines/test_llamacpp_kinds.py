# SPDX-License-Identifier: Apache-2.0
"""On which devices a llama.cpp can load a model."""

from collections.abc import Iterable

import pytest

from inglenook.engines.llamacpp.kinds import EVERY, Kinds, kinds_of
from inglenook.runtime.contracts import ChildFailed, Failure


@pytest.mark.parametrize(
    ("builds", "kinds"),
    [
        (("CPU",), {"cpu"}),
        (("CPU", "CUDA"), {"cpu", "cuda"}),
        (("CPU", "Vulkan"), {"cpu", "vulkan", "cuda", "rocm"}),
        (("CPU", "Metal"), {"cpu", "mps"}),
        (("CPU", "ROCm", "SYCL"), {"cpu", "rocm"}),
    ],
)
def test_a_build_loads_on_what_it_was_built_for(builds: tuple[str, ...], kinds: set[str]) -> None:
    assert kinds_of(builds) == kinds
    assert Kinds(builds=lambda: builds, here=("cuda", "cpu"))() == kinds


def test_with_a_cpu_alone_nobody_is_asked() -> None:
    def builds() -> Iterable[str]:
        raise AssertionError("asked")

    assert Kinds(builds=builds, here=("cpu",))() == EVERY


def test_where_there_is_no_llama_cpp_the_start_says_so_not_the_plan() -> None:
    def builds() -> Iterable[str]:
        raise ChildFailed(Failure("engine.missing", "there is none"))

    assert Kinds(builds=builds, here=("cuda", "cpu"))() == EVERY
