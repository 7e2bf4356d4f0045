# SPDX-License-Identifier: Apache-2.0
"""What becomes of an allocator's word on its way to a person. The rest of the engine needs a child:
tests/contract/test_engine.py and tests/integration/test_runtime_workers.py."""

from inglenook.engines.diffusers import DTYPES, TORCH_DEVICE
from inglenook.runtime.contracts import OutOfMemoryEvidence
from inglenook.runtime.worker_child import evidence_of
from inglenook.wire.message import OutOfMemory


def test_no_evidence_is_made_up() -> None:
    assert evidence_of(None) is None
    assert evidence_of(OutOfMemory()) == OutOfMemoryEvidence("the allocator's error")


def test_the_allocators_numbers_are_kept_apart() -> None:
    said = OutOfMemory(requested_bytes=1, free_bytes=2, total_bytes=3)
    assert evidence_of(said) == OutOfMemoryEvidence("the allocator's error", 1, 2, 3)


def test_every_kind_of_device_that_it_loads_on_has_a_name_in_torch_and_a_precision() -> None:
    assert TORCH_DEVICE.keys() == DTYPES.keys()
