# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501 - lines are quoted as llama.cpp prints them
"""What llama.cpp prints. The lines are its own: of runs here, and of its sources where it takes a GPU."""

import logging

import pytest

from inglenook.base.units import MIB
from inglenook.engines.llamacpp import words
from inglenook.runtime.contracts import Failure, OutOfMemoryEvidence

ENDED = Failure(
    "child.exited", "m ended with status 1 while it was being loaded.", "look", last_lines=("last",)
)
LOADING = "while it was being loaded"
TAIL = (
    "0.00.386.753 E llama_model_load_from_file_impl: failed to load model",
    "0.00.386.760 E cmn  common_init_: failed to load model '/m.gguf'",
    "0.00.386.764 E srv    load_model: failed to load model, '/m.gguf'",
    "error: Failed to init server, please check the input params.",
)


def told(*lines: str, loading: bool = True, failure: Failure = ENDED) -> Failure:
    return words.told(failure, lines, model="m", doing=LOADING, loading=loading)


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("0.04.168.907 I srv    load_model: loading", logging.INFO),
        ("0.04.168.907 W srv    load_model: loading", logging.WARNING),
        ("12.34.04.168.907 E srv    load_model: loading", logging.ERROR),
        ("0.04.168.907 D srv    load_model: loading", logging.DEBUG),
        ("AMX is not ready to be used!", logging.INFO),
        ("E is a letter", logging.INFO),
    ],
)
def test_the_letter_after_the_time_is_the_level(line: str, level: int) -> None:
    assert words.level_of(line) == level


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("0.00.077.743 I slot launch_slot_: id  3 | task 0 | processing task, is_child = 0", logging.DEBUG),
        ("0.00.107.237 I slot print_timing: id  2 | task 2 | graphs reused = 2", logging.DEBUG),
        ("0.00.157.352 W slot   operator(): id  2 | task 6 | n_past was set to 20", logging.DEBUG),
        ("0.00.157.352 W slot   operator(): id  2 | task 6 | input truncated", logging.WARNING),
        ("0.00.157.352 E slot   operator(): id  2 | task 6 | failed to decode", logging.ERROR),
        ("0.00.157.352 I srv    load_model: initializing, n_slots = 4", logging.INFO),
    ],
)
def test_what_is_said_of_every_request_does_not_fill_the_journal(line: str, level: int) -> None:
    assert words.level_of(line) == level


@pytest.mark.parametrize(
    ("line", "requested"),
    [
        ("ggml_backend_cuda_buffer_type_alloc_buffer: allocating 24576.00 MiB on device 0: cudaMalloc failed: out of memory", 24576 * MIB),
        ("ggml_aligned_malloc: insufficient memory (attempted to allocate 8797.50 MB)", int(8797.5 * MIB)),
        ("alloc_tensor_range: failed to allocate CUDA0 buffer of size 25769803776", 25769803776),
        ("ggml_gallocr_reserve_n_impl: failed to allocate Vulkan0 buffer of size 1073741824", 1073741824),
        ("ggml_vulkan: Device memory allocation of size 536870912 failed.", 536870912),
        ("ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory", None),
        ("ggml_metal_buffer_init: error: failed to allocate buffer, size = 4096.00 MiB", 4096 * MIB),
        ("CUDA error: out of memory", None),
        ("llama_model_load: error loading model: unable to allocate CUDA0 buffer", None),
        ("terminate called after throwing an instance of 'std::bad_alloc'", None),
    ],
)  # fmt: skip
def test_memory_ran_out_when_an_allocator_says_so_and_its_number_is_taken(
    line: str, requested: int | None
) -> None:
    evidence = words.out_of_memory(["0.00.001.000 I loading", f"0.00.388.505 E {line}"])
    assert evidence is not None
    assert evidence.requested_bytes == requested
    assert line in evidence.source
    assert "0.00.388" not in evidence.source


def test_a_line_with_a_number_is_quoted_before_one_without() -> None:
    failure = told(
        "0.00.1 E llama_model_load: error loading model: unable to allocate CUDA0 buffer",
        "0.00.2 E alloc_tensor_range: failed to allocate CUDA0 buffer of size 4096",
    )
    assert failure.code == "load.out_of_memory"
    assert failure.out_of_memory is not None
    assert failure.out_of_memory.requested_bytes == 4096
    assert "of size 4096" in failure.message
    assert failure.last_lines == ENDED.last_lines


def test_memory_that_ran_out_at_work_has_a_code_of_its_own() -> None:
    failure = words.told(
        ENDED, ["E CUDA error: out of memory"], model="m", doing="while it answered", loading=False
    )
    assert failure.code == "child.out_of_memory"
    assert "m ran out of memory while it answered" in failure.message


def test_the_kernels_word_stands_above_what_the_child_has_printed() -> None:
    killed = Failure("child.out_of_memory", "killed", None, OutOfMemoryEvidence("the kernel"))
    assert told("E failed to allocate buffer of size 1", failure=killed) is killed


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("gguf_init_from_reader: invalid magic characters: 'NOPE', expected 'GGUF'", "load.corrupt"),
        ("gguf_init_from_reader: failed to read key-value pairs", "load.corrupt"),
        ("llama_model_load: error loading model: tensor 'blk.15.attn_output.weight' data is not within the file bounds, model is corrupted or incomplete", "load.corrupt"),
        ("llama_model_load: error loading model: check_tensor_dims: tensor 'blk.0.attn_norm.weight' not found", "load.corrupt"),
        ("llama_model_load: error loading model: missing tensor 'token_embd.weight'", "load.corrupt"),
        ("llama_model_load: error loading model: error loading model hyperparameters: key not found in model: llama.block_count", "load.corrupt"),
        ("llama_model_load: error loading model: unknown model architecture: 'lzama'", "load.unsupported"),
        ("gguf_init_from_reader: this GGUF file is version 99 but this software only supports up to version 3", "load.unsupported"),
        ("llama_model_load: error loading model: error loading model vocabulary: unknown pre-tokenizer type: 'x'", "load.unsupported"),
        ("gguf_init_from_file: failed to open GGUF file '/m.gguf' (No such file or directory)", "load.missing"),
        ("llama_init_from_model: quantized V cache requires flash_attn to be enabled", "load.refused"),
    ],
)  # fmt: skip
def test_a_refused_file_is_told_in_llama_cpps_words_with_what_to_do(line: str, code: str) -> None:
    failure = told("0.00.1 I srv  load_model: loading model", f"0.00.386.704 E {line}", *TAIL)
    assert failure.code == code
    assert failure.message == f"m could not be loaded: {line}"
    assert failure.hint
    assert failure.out_of_memory is None


def test_which_of_a_models_files_was_refused_is_said() -> None:
    failure = told(
        "0.00.290.502 E gguf_init_from_reader: failed to read magic",
        "0.00.290.663 E cmn  common_init_: failed to load lora adapter '/a/b.gguf'",
    )
    assert failure.message.startswith("The lora adapter /a/b.gguf of m could not be loaded: gguf_init")


def test_an_option_that_a_program_does_not_know_asks_for_a_newer_one() -> None:
    assert told("error: invalid argument: --foo").code == "load.unsupported"


def test_a_child_that_said_nothing_about_its_end_keeps_the_end_that_was_seen() -> None:
    assert told("0.00.1 I fine", "I do not feel like it") is ENDED
    assert told("0.00.1 E something at work", loading=False) is ENDED
