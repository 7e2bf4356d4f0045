# SPDX-License-Identifier: Apache-2.0
"""How much memory a language model is expected to need."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.base.units import MIB
from inglenook.catalog.language import (
    Memory,
    Use,
    all_layers,
    cache_bytes,
    compute_bytes,
    cpu_bytes,
    memory,
    projector_bytes,
    row_bytes,
)
from inglenook.catalog.model import LanguageFacts, LanguageTask, LayerCache, ProjectorFacts

SMOL = LanguageFacts(
    task=LanguageTask.CHAT,
    architecture="llama",
    context=8192,
    width=576,
    heads=9,
    kv_heads=3,
    key_width=64,
    value_width=64,
    vocabulary=49_152,
    layer_bytes=(2_216_448,) * 30,
    other_bytes=30_083_328,
    embedding_bytes=30_081_024,
    output_bytes=30_083_328,
    quantisation="Q4_1",
    feed_forward=1536,
    caches=(LayerCache(192, 192),) * 30,
    type_bytes={"Q4_1": 66_355_200},
)
"""SmolLM2-135M in Q4_1, which shares its embeddings with its output."""

MEASURED = [
    (Use(1024), 22.50, 15.64, 193),
    (Use(4096), 90.00, 18.64, 260),
    (Use(8192), 180.00, 22.64, 350),
    (Use(2048, 4), 180.00, 16.64, 351),
    (Use(8192, 4), 720.00, 22.64, 891),
    (Use(4096, flash_attention=False), 90.00, 87.51, 261),
    (Use(4096, cache_type_k="q8_0", cache_type_v="q8_0"), 47.81, 18.67, 219),
    (Use(4096, cache_type_k="q4_0", cache_type_v="q4_0"), 25.31, 18.67, 196),
    (Use(8192, batch=2048), 180.00, 90.57, 350),
    (Use(2048, batch=2048, all_outputs=True), 45.00, 414.59, 234),
]
"""What llama.cpp said it reserves for keys and values and for results, and what the process held, in MiB."""


@pytest.mark.parametrize(("use", "cache_mib", "compute_mib", "resident_mib"), MEASURED)
def test_estimates_agree_with_what_llama_cpp_said(
    use: Use, cache_mib: float, compute_mib: float, resident_mib: int
) -> None:
    cache = sum(cache_bytes(one, use) for one in SMOL.caches) / MIB
    compute = compute_bytes(SMOL, use) / MIB
    assert cache == pytest.approx(cache_mib, abs=0.01)
    assert compute_mib <= compute < 1.35 * compute_mib
    assert resident_mib <= cpu_bytes(SMOL, use) / MIB < resident_mib + compute_mib + 60


@pytest.mark.parametrize(
    ("kind", "values", "size"),
    [
        ("f16", 64, 128),
        ("f32", 64, 256),
        ("q8_0", 64, 68),
        ("q4_0", 64, 36),
        ("iq4_nl", 64, 36),
        ("q5_1", 96, 72),
    ],
)
def test_a_row_is_as_long_as_its_type_says(kind: str, values: int, size: int) -> None:
    assert row_bytes(values, kind) == size


def test_a_window_bounds_what_a_layer_keeps() -> None:
    use = Use(32_768, 2)
    assert cache_bytes(LayerCache(64, 64, window=1024), use) == 2 * 1536 * 256
    assert cache_bytes(LayerCache(64, 64), use) == 2 * 32_768 * 256
    assert cache_bytes(LayerCache(64, 64, window=1024), Use(512)) == 512 * 256


def test_a_state_is_as_large_however_long_the_conversation() -> None:
    layer = LayerCache(state_values=1000)
    assert cache_bytes(layer, Use(256)) == cache_bytes(layer, Use(100_000)) == 4000
    assert cache_bytes(layer, Use(256, 3)) == 12_000


def test_all_on_the_device_leaves_the_embeddings_and_what_crosses_with_the_host() -> None:
    found = memory(SMOL, Use(4096), layers=all_layers(SMOL))
    assert found.host < SMOL.embedding_bytes + 4 * MIB
    assert found.device > 30 * 2_216_448 + SMOL.output_bytes + 90 * MIB


def test_nothing_on_the_device_is_all_on_the_host_and_a_shared_matrix_held_once() -> None:
    found = memory(SMOL, Use(4096), layers=0)
    weights = sum(SMOL.layer_bytes) + SMOL.other_bytes
    assert found == Memory(0, weights + 90 * MIB + compute_bytes(SMOL, Use(4096)))


def test_layers_are_taken_from_the_output_backwards() -> None:
    sizes = tuple(range(1, 5))
    facts = replace(SMOL, layer_bytes=sizes, caches=(LayerCache(),) * 4, embedding_bytes=0, output_bytes=100)
    compute = compute_bytes(facts, Use(256))
    assert [memory(facts, Use(256), layers=count).device for count in range(6)] == [
        0, 100 + compute, 104 + compute, 107 + compute, 109 + compute, 110 + compute,
    ]  # fmt: skip


def test_types_that_are_reordered_are_held_twice_on_a_cpu() -> None:
    reordered = replace(SMOL, type_bytes={"Q4_K": 1000, "Q6_K": 500})
    assert cpu_bytes(reordered, Use(256)) - cpu_bytes(SMOL, Use(256)) == 1000


def test_what_reads_a_text_at_once_keeps_nothing_of_it() -> None:
    bert = replace(SMOL, causal=False, caches=(LayerCache(),) * 30)
    use = Use(512, batch=512)
    assert sum(cache_bytes(one, use) for one in bert.caches) == 0
    assert compute_bytes(bert, use) < compute_bytes(SMOL, use)


@given(
    context=st.integers(1, 200_000),
    parallel=st.integers(1, 16),
    batch=st.integers(32, 4096),
    more=st.sampled_from([{"context": 2}, {"parallel": 2}, {"batch": 2}]),
    flash=st.booleans(),
)
def test_more_of_anything_never_needs_less(
    context: int, parallel: int, batch: int, more: dict[str, Any], flash: bool
) -> None:
    use = Use(context, parallel, batch, flash)
    grown = replace(use, **{name: getattr(use, name) * times for name, times in more.items()})
    for layers in (0, 1, 15, all_layers(SMOL)):
        before, after = memory(SMOL, use, layers=layers), memory(SMOL, grown, layers=layers)
        assert after.device >= before.device
        assert after.host >= before.host


@given(context=st.integers(1, 100_000), parallel=st.integers(1, 8))
def test_each_further_layer_takes_more_of_the_device_and_less_of_the_host(
    context: int, parallel: int
) -> None:
    found = [memory(SMOL, Use(context, parallel), layers=count) for count in range(1, all_layers(SMOL) + 1)]
    assert found == sorted(found, key=lambda one: one.device)
    assert found == sorted(found, key=lambda one: -one.host)


def test_a_projector_needs_its_weights_and_room_for_a_picture() -> None:
    small = ProjectorFacts("mlp", ("image",), 576, layers=12, encoder_width=768, side_px=224, patch_px=16)
    large = replace(small, side_px=896)
    assert projector_bytes(small, 1000) > 1000
    assert projector_bytes(large, 1000) > projector_bytes(small, 1000)
    assert projector_bytes(replace(small, patch_px=0), 1000) > 1000
