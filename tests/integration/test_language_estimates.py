# SPDX-License-Identifier: Apache-2.0
"""What is expected of a language model's memory, against what the real llama.cpp reserves; and that it loads
what the plans say: split files, projectors, draft models and adapters."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests import gguf_architectures as architectures
from tests.gguf_files import Shape, write_adapter, write_llama, write_projector, write_split

from inglenook.base.ids import ModelId
from inglenook.base.units import MIB
from inglenook.catalog.language import cache_bytes, compute_bytes
from inglenook.catalog.model import ModelRecord
from inglenook.catalog.service import CatalogService
from inglenook.chat.model import Defaults, ModelOptions
from inglenook.chat.planning import load_plan, use_of
from inglenook.testing import parts
from inglenook.wire.llama import Launch, LoadLanguageModel

pytestmark = pytest.mark.slow

SERVE = """
import os, sys
from pathlib import Path
import msgspec, psutil, xllamacpp
from inglenook.wire.llama import Launch
from inglenook.workers.llama.parameters import parameters

launch = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Launch)
params = parameters(launch, xllamacpp)
params.verbosity = 4  # at which it says what it reserves
server = xllamacpp.Server(params)
if launch.load.mode == "chat":
    print("ANSWER", server.handle_completions({"prompt": "the water", "n_predict": 4}))
print("RESIDENT", psutil.Process().memory_info().rss, flush=True)
os._exit(0)
"""


@dataclass
class Said:
    """MiB by what they were for; `resident` of the whole process."""

    text: str

    def reserved(self, what: str) -> float:
        found = re.findall(rf"{what} buffer size\s*=\s*([\d.]+) MiB", self.text)
        return sum(float(size) for size in found)

    @property
    def resident_bytes(self) -> int:
        found = re.search(r"RESIDENT (\d+)", self.text)
        assert found is not None, self.text[-2000:]
        return int(found[1])


Run = Callable[..., Said]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    parts.require(importlib.util.find_spec("xllamacpp") is not None, "xllamacpp is not installed")

    def running(load: LoadLanguageModel) -> Said:
        socket = tmp_path / "l.sock"
        order = tmp_path / "launch.json"
        order.write_bytes(
            msgspec.json.encode(
                Launch(load=msgspec.structs.replace(load, threads=1, gpu_layers=0), socket=str(socket))
            )
        )
        done = subprocess.run(
            [sys.executable, "-c", SERVE, str(order)],
            capture_output=True, text=True, timeout=240, check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return Said(done.stdout + done.stderr)

    return running


def catalogued(root: Path) -> tuple[dict[str, ModelRecord], Callable[[str | Path], ModelRecord]]:
    catalog = CatalogService(roots=[root], builtin=root / "none")
    records: dict[str, ModelRecord] = {record.id: record for record in catalog.list()}
    return records, lambda name: catalog.at(name) if isinstance(name, Path) else catalog.get(ModelId(name))


def planned(root: Path, name: str, options: ModelOptions) -> tuple[ModelRecord, LoadLanguageModel, int]:
    records, find = catalogued(root)
    plan, _ = load_plan(records[name], options, Defaults(parallel=1), pinned=False, find=find)
    return records[name], plan.options["load"], plan.footprint_bytes["cpu"]


def write_plain(path: Path) -> Path:
    return write_llama(path, shape=Shape(layers=4, width=256, kv_heads=2, context=8192))


CASES: list[tuple[Callable[[Path], Path], dict[str, Any]]] = [
    (write_plain, {"context": 1024}),
    (write_plain, {"context": 8192, "parallel": 2}),
    (write_plain, {"context": 4096, "cache_type_k": "q8_0", "cache_type_v": "q4_0"}),
    (write_plain, {"context": 4096, "flash_attention": "off"}),
    (write_plain, {"context": 1024, "task": "embedding"}),
    (architectures.write_windowed, {"context": 4096, "parallel": 2}),
    (architectures.write_recurrent, {"context": 4096, "parallel": 2}),
    (architectures.write_compressed, {"context": 4096, "parallel": 2}),
]


@pytest.mark.parametrize(("make", "options"), CASES)
def test_llama_cpp_reserves_what_was_expected(
    tmp_path: Path, run: Run, make: Callable[[Path], Path], options: dict[str, Any]
) -> None:
    make(tmp_path / "m.gguf")
    record, load, expected = planned(tmp_path, "m", ModelOptions(**options))
    facts = record.language
    assert facts is not None
    said, use = run(load), use_of(load, facts)
    cache = sum(cache_bytes(one, use) for one in facts.caches) / MIB
    compute = compute_bytes(facts, use) / MIB
    assert said.reserved("KV") + said.reserved("RS") == pytest.approx(cache, abs=0.02)
    assert said.reserved("compute") <= compute < 2.5 * said.reserved("compute") + 1
    assert said.resident_bytes <= expected < said.resident_bytes + compute * MIB + 64 * MIB


def test_a_model_is_loaded_with_all_that_goes_with_it(tmp_path: Path, run: Run) -> None:
    write_llama(tmp_path / "main.gguf")
    write_llama(tmp_path / "drafts" / "small.gguf", shape=Shape(layers=1, width=64), seed=3)
    write_projector(tmp_path / "mmproj.gguf")
    write_adapter(tmp_path / "tone.gguf")
    options = ModelOptions(context=512, draft="drafts/small", loras=(("tone", 0.5),))
    _, load, expected = planned(tmp_path, "main", options)
    assert None not in (load.draft, load.mmproj)
    assert load.loras
    said = run(load)
    for file in ("main.gguf", "small.gguf", "mmproj.gguf", "tone.gguf"):
        assert file in said.text
    assert "ANSWER" in said.text
    assert said.resident_bytes <= expected


def test_a_split_model_is_loaded_whole(tmp_path: Path, run: Run) -> None:
    write_split(tmp_path, "big", parts=3)
    _, load, _ = planned(tmp_path, "big", ModelOptions(context=512))
    assert "ANSWER" in run(load).text
