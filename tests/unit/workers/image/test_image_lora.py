# SPDX-License-Identifier: Apache-2.0
"""A Draw with LoRAs: the picture that diffusers draws, and the plain model afterwards, whatever happens."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.workers.image import lora_files
from tests.unit.workers.image.bench import PIPELINES, SIDE_PX, STEPS, Bench, a_draw

from inglenook.wire.image import DrawCancelled, DrawFailed, Drawn, LoraUse, Notice
from inglenook.workers.image.drawing import Studio
from inglenook.workers.image.lora import adapted as adapted_modules
from inglenook.workers.image.lora import files, shelf
from inglenook.workers.image.lora.adapted import Adapted
from inglenook.workers.image.lora.shelf import LoraShelf

TOLERANCE_LEVELS = 1
KINDS: dict[str, Callable[[Any, Path], Path]] = {
    "kohya": lora_files.kohya,
    "kohya, every layer": lambda family, path: lora_files.kohya(
        family, path, wanted=lora_files.EVERYTHING, strength=0.2
    ),
    "kohya without alpha": lambda family, path: lora_files.kohya(family, path, alpha=None, text=False),
    "peft": lora_files.peft,
    "peft with metadata": lambda family, path: lora_files.peft(
        family,
        path,
        text=False,
        settings={"unet.r": 4, "unet.lora_alpha": 6, "unet.target_modules": ["to_q", "to_k", "to_v"]},
        wanted=("to_q", "to_k", "to_v"),
    ),
}
EVERY_DAY = {("sd1", "peft with metadata"), ("sdxl", "kohya")}


class Falling:
    """A family whose model fails at one call, counted from 1, by whatever `error` is."""

    def __init__(self, family: Any, error: Exception, at: int = 3) -> None:
        self._family, self._error, self._at = family, error, at
        self._calls = count(1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._family, name)

    def spare(self, saving: int) -> None:
        del saving

    def predict(self, *question: Any) -> Any:
        if next(self._calls) == self._at:
            raise self._error
        return self._family.predict(*question)


@pytest.fixture
def sd1(benches: dict[str, Bench]) -> Bench:
    return benches["sd1"]


def use(path: Path, weight: float = 1.0) -> LoraUse:
    return LoraUse(path=str(path), weight=weight)


def drawn_by_diffusers(one: Bench, loras: list[tuple[Path, float]]) -> np.ndarray:
    sdxl = one.family.name == "sdxl"
    pipeline = PIPELINES[sdxl, "text"].from_pretrained(
        one.folder, local_files_only=True, **({} if sdxl else {"safety_checker": None})
    )
    pipeline.set_progress_bar_config(disable=True)
    names = [f"lora{number}" for number in range(len(loras))]
    for name, (path, _) in zip(names, loras, strict=True):
        pipeline.load_lora_weights(
            str(path.parent), weight_name=path.name, adapter_name=name, local_files_only=True
        )
    pipeline.set_adapters(names, [weight for _, weight in loras])
    request = a_draw()
    return np.asarray(
        pipeline(
            request.prompt,
            num_inference_steps=STEPS,
            guidance_scale=request.guidance_scale,
            width=SIDE_PX,
            height=SIDE_PX,
            generator=torch.Generator("cpu").manual_seed(request.seeds[0]),
        ).images[0]
    ).astype(int)


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        pytest.param(family, kind, marks=() if (family, kind) in EVERY_DAY else pytest.mark.slow)
        for family in ("sd1", "sdxl")
        for kind in KINDS
    ],
)
def test_the_picture_is_the_one_that_diffusers_draws_with_the_same_lora(
    benches: dict[str, Bench], tmp_path: Path, family: str, kind: str
) -> None:
    one = benches[family]
    path = KINDS[kind](one.family, tmp_path / "style.safetensors")
    ours = one.ours(loras=(use(path, 0.7),))
    assert np.abs(ours - drawn_by_diffusers(one, [(path, 0.7)])).max() <= TOLERANCE_LEVELS
    assert np.abs(ours - one.ours()).mean() > 1, "a LoRA that changes nothing proves nothing"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")  # PEFT's word for the second of two
def test_several_count_with_their_weights_also_below_zero(benches: dict[str, Bench], tmp_path: Path) -> None:
    one = benches["sdxl"]
    first = lora_files.kohya(one.family, tmp_path / "first.safetensors", seed=1)
    second = lora_files.peft(one.family, tmp_path / "second.safetensors", seed=5)
    ours = one.ours(loras=(use(first, 0.5), use(second, -0.4)))
    theirs = drawn_by_diffusers(one, [(first, 0.5), (second, -0.4)])
    assert np.abs(ours - theirs).max() <= TOLERANCE_LEVELS


def test_a_weight_of_zero_is_the_plain_model_to_the_last_bit(sd1: Bench, tmp_path: Path) -> None:
    path = lora_files.kohya(sd1.family, tmp_path / "style.safetensors")
    assert np.array_equal(sd1.ours(loras=(use(path, 0.0),)), sd1.ours())


def test_weight_and_order_of_two_are_told_apart(sd1: Bench, tmp_path: Path) -> None:
    path = lora_files.kohya(sd1.family, tmp_path / "style.safetensors")
    assert not np.array_equal(sd1.ours(loras=(use(path, 1.0),)), sd1.ours(loras=(use(path, 0.5),)))


def broken(family: Any, path: Path) -> Path:
    """A LoRA that is good but for one number."""
    good = lora_files.kohya(family, path)
    tensors = lora_files.read(good)
    next(iter(tensors.values())).view(-1)[0] = float("nan")
    return lora_files.written(tensors, path)


def after_three_questions() -> Callable[[], bool]:
    asked = count(1)
    return lambda: next(asked) > 3


ENDS: dict[str, Callable[[Bench], Studio]] = {
    "a failure": lambda one: one.studio(family=Falling(one.family, RuntimeError("a kernel fell over"))),
    "an end of memory": lambda one: one.studio(
        family=Falling(one.family, torch.OutOfMemoryError("CUDA out of memory.")), saving=3
    ),
    "a cancel": lambda one: one.studio(should_stop=after_three_questions()),
}


@pytest.mark.parametrize(
    "end", [pytest.param(end, marks=() if end == "a failure" else pytest.mark.slow) for end in ENDS]
)
def test_the_next_draw_without_it_is_the_plain_model_bit_for_bit_after(
    benches: dict[str, Bench], tmp_path: Path, end: str
) -> None:
    one = benches["sdxl"]
    path = lora_files.kohya(one.family, tmp_path / "style.safetensors", wanted=lora_files.EVERYTHING)
    before = one.ours()
    weights = {
        key: tensor.clone() for key, tensor in lora_files.modules_of(one.family)["unet"].state_dict().items()
    }
    with_it = one.ours(loras=(use(path),))
    studio = ENDS[end](one)
    expected: Any = pytest.raises(RuntimeError, match="fell over") if end == "a failure" else nullcontext()
    with expected:
        assert isinstance(studio.execute(a_draw(loras=(use(path),))), DrawFailed | DrawCancelled)
    assert not adapted(one), "nothing is left attached"
    assert np.array_equal(one.ours(), before)
    after = lora_files.modules_of(one.family)["unet"].state_dict()
    assert list(after) == list(weights)
    assert all(torch.equal(after[key], weights[key]) for key in weights)
    assert np.array_equal(one.ours(loras=(use(path),)), with_it)


def test_memory_that_runs_out_while_attaching_leaves_nothing_attached(
    sd1: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lora_files.kohya(sd1.family, tmp_path / "style.safetensors")
    before = sd1.ours()
    put, calls = adapted_modules.Swaps.put, count(1)

    def short(self: Any, *asked: Any) -> None:
        if next(calls) in {5, 10}:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")
        put(self, *asked)

    monkeypatch.setattr(adapted_modules.Swaps, "put", short)
    last = sd1.studio(saving=2).execute(a_draw(loras=(use(path),)))
    assert isinstance(last, DrawFailed)
    assert last.code == "draw.out_of_memory"
    assert sd1.said(Notice), "it was tried once more at a higher saving level"
    assert not adapted(sd1)
    monkeypatch.undo()
    sd1.family.spare(0)
    assert np.array_equal(sd1.ours(), before)


def test_one_that_cannot_be_read_is_refused_before_the_other_is_attached(sd1: Bench, tmp_path: Path) -> None:
    good = lora_files.kohya(sd1.family, tmp_path / "good.safetensors")
    bad = broken(sd1.family, tmp_path / "bad.safetensors")
    before = sd1.ours()
    last = sd1.execute(loras=(use(good), use(bad)))
    assert isinstance(last, DrawFailed)
    assert last.code == "draw.invalid"
    assert "bad.safetensors" in last.message
    assert not adapted(sd1)
    assert np.array_equal(sd1.ours(), before)


# ── keeping what was read ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read from now on."""
    names: list[str] = []
    real = files.read

    def watched(path: Path, *rest: Any) -> Any:
        names.append(path.name)
        return real(path, *rest)

    monkeypatch.setattr(shelf, "read", watched)
    return names


@pytest.mark.slow
def test_the_same_set_twice_reads_and_moves_nothing(sd1: Bench, tmp_path: Path, reads: list[str]) -> None:
    path = lora_files.kohya(sd1.family, tmp_path / "style.safetensors")
    sd1.ours(loras=(use(path),))
    attached = adapted(sd1)
    sd1.ours(loras=(use(path),))
    assert [id(module) for module in adapted(sd1)] == [id(module) for module in attached]
    sd1.ours()
    sd1.ours(loras=(use(path, 0.5),))
    assert reads == ["style.safetensors"], "another weight, or a Draw in between, needs no second reading"


def test_a_file_that_was_written_anew_is_read_anew(sd1: Bench, tmp_path: Path, reads: list[str]) -> None:
    path = lora_files.kohya(sd1.family, tmp_path / "style.safetensors", seed=1)
    first = sd1.ours(loras=(use(path),))
    lora_files.kohya(sd1.family, path, seed=2)
    os.utime(path, ns=(1, 1))
    second = sd1.ours(loras=(use(path),))
    assert len(reads) == 2
    assert not np.array_equal(first, second)


def test_what_was_used_longest_ago_is_dropped_when_the_room_is_full(
    sd1: Bench, tmp_path: Path, reads: list[str]
) -> None:
    paths = [
        lora_files.kohya(sd1.family, tmp_path / f"{n}.safetensors", seed=n, text=False) for n in range(3)
    ]
    parts = lora_files.modules_of(sd1.family)
    one = LoraShelf(parts, "sd1")
    one.apply([use(paths[0])])
    room = LoraShelf(parts, "sd1", cache_bytes=2 * one.kept_bytes)
    one.detach()
    reads.clear()
    for number in (0, 1, 0, 2, 0, 1):
        room.apply([use(paths[number])])
        assert room.kept_bytes <= 2 * one.kept_bytes
    room.detach()
    assert reads == ["0.safetensors", "1.safetensors", "2.safetensors", "1.safetensors"]


def test_the_fingerprint_speaks_of_those_that_change_how_a_prompt_is_read(sd1: Bench, tmp_path: Path) -> None:
    loras = sd1.family.loras
    texts = lora_files.kohya(sd1.family, tmp_path / "texts.safetensors")
    plain = lora_files.kohya(sd1.family, tmp_path / "plain.safetensors", text=False)
    seen = []
    for wanted in ([], [use(plain)], [use(texts, 0.0)], [use(texts)], [use(texts, 0.5), use(plain)]):
        loras.apply(wanted)
        seen.append(loras.text_fingerprint)
    loras.detach()
    assert seen[0] == seen[1] == seen[2] == loras.text_fingerprint == ()
    assert len({seen[0], seen[3], seen[4]}) == 3


def test_a_lora_goes_with_its_part_from_one_precision_to_another(sd1: Bench, tmp_path: Path) -> None:
    path = lora_files.kohya(sd1.family, tmp_path / "style.safetensors")
    sd1.family.loras.apply([use(path)])
    (module, *_) = adapted(sd1)
    assert module.weight is module.base.weight
    assert module.to(torch.bfloat16).up.dtype == torch.bfloat16
    module.to(torch.float32)
    sd1.family.loras.detach()
    assert sd1.family.loras.kept_bytes > 0
    assert isinstance(sd1.execute(loras=(use(path),)), Drawn), "what is kept has not gone with it"


def adapted(one: Bench) -> list[Any]:
    """The modules that are replaced at the moment."""
    parts = one.family._parts.modules.values()  # type: ignore[attr-defined]
    return [module for part in parts for module in part.modules() if isinstance(module, Adapted)]


def test_drawing_with_it_succeeds_and_says_nothing(sd1: Bench, tmp_path: Path) -> None:
    path = lora_files.kohya(sd1.family, tmp_path / "style.safetensors")
    assert isinstance(sd1.execute(loras=(use(path),)), Drawn)
    assert sd1.said(Notice) == []
