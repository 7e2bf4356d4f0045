# SPDX-License-Identifier: Apache-2.0
"""How CLIP's encoders read prompts: pieces, weights, layers, textual inversions; and what is remembered."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tests.tiny_models import byte_tokenizer
from tests.unit.workers.image.bench import SIDE_PX, Bench, a_draw

from inglenook.wire.image import DrawFailed, Drawn, EmbeddingUse, Notice
from inglenook.workers.image.errors import DrawInvalid
from inglenook.workers.image.families import clip
from inglenook.workers.image.families.clip_prompt import Piece, pieces
from inglenook.workers.image.families.family import Text
from inglenook.workers.image.textcache import TextCache, picture_key, text_key

BYTES = byte_tokenizer()
CPU = torch.device("cpu")
LONG = ", ".join(f"a tag of number {n}" for n in range(60))


def read(one: Bench, prompt: str, negative: str = "", **how: Any) -> Text:
    with torch.inference_mode():
        return one.family.encode_text(
            prompt, negative, **{"guidance_scale": 5.0, "width": SIDE_PX, "height": SIDE_PX, **how}
        )


def same(first: Text, second: Text) -> bool:
    return torch.equal(first.embeds, second.embeds) and all(
        torch.equal(first.added[name], second.added[name]) for name in first.added
    )


# pieces


def test_a_short_prompt_is_one_piece_of_the_tokenizers_own_tokens() -> None:
    whole = clip.tokenizer(pad="!")
    found = pieces(whole, "A red fox, in the snow!", {})
    assert [piece.ids for piece in found] == [whole("A red fox, in the snow!").input_ids[1:-1]]
    assert pieces(whole, "", {}) == [Piece()]


def test_exactly_75_tokens_are_one_piece_and_one_more_are_two() -> None:
    assert [len(piece.ids) for piece in pieces(BYTES, "a " * 75, {})] == [75]
    assert [len(piece.ids) for piece in pieces(BYTES, "a " * 76, {})] == [75, 1]


def test_a_full_piece_is_cut_after_its_last_comma_when_that_is_near() -> None:
    assert [len(piece.ids) for piece in pieces(BYTES, "a " * 60 + ", " + "b " * 40, {})] == [61, 40]
    assert [len(piece.ids) for piece in pieces(BYTES, "a " * 40 + ", " + "b " * 60, {})] == [75, 26]
    assert [len(piece.ids) for piece in pieces(BYTES, "a " * 74 + ", " + "b " * 3, {})] == [75, 3]


def test_a_weight_reaches_over_the_end_of_a_piece() -> None:
    first, second = pieces(BYTES, "a " * 70 + "(" + "b " * 10 + ":1.5)", {})
    assert first.weights == [1.0] * 70 + [1.5] * 5
    assert second.weights == [1.5] * 5


def test_break_begins_a_piece_and_makes_no_empty_one() -> None:
    assert [len(piece.ids) for piece in pieces(BYTES, "a b BREAK c", {})] == [2, 1]
    assert [len(piece.ids) for piece in pieces(BYTES, "BREAK a BREAK BREAK b BREAK", {})] == [1, 1]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(["a ", "bc ", ", ", "(d:1.3) ", "BREAK ", "embedding:x ", "[e] "]), max_size=120)
)
def test_no_piece_is_longer_than_75_and_no_token_is_lost(words: list[str]) -> None:
    found = pieces(BYTES, "".join(words), {"embedding:x": 3})
    assert all(len(piece.ids) == len(piece.weights) <= 75 for piece in found)
    tokens = {"a ": 1, "bc ": 2, ", ": 1, "(d:1.3) ": 1, "BREAK ": 0, "embedding:x ": 3, "[e] ": 1}
    assert sum(len(piece.ids) for piece in found) == sum(tokens[word] for word in words)
    for piece in found:
        places = [place for place, _, _ in piece.slots]
        assert [number for _, _, number in piece.slots] == [0, 1, 2] * (len(places) // 3)
        assert all(piece.ids[place] == 0 for place in places)


# weights


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_only_brackets_change_what_is_read(benches: dict[str, Bench], family: str) -> None:
    one = benches[family]
    plain = read(one, "a red fox", "blurry")
    assert same(plain, read(one, "a (red:1) fox", "(blurry:1.0)"))
    assert not same(plain, read(one, "a (red) fox", "blurry"))
    assert same(read(one, "a [red] fox"), read(one, f"a (red:{1 / 1.1}) fox"))
    assert same(read(one, r"a \(red fox"), read(one, "a (red fox"))


def test_a_weight_multiplies_states_and_restores_their_mean(benches: dict[str, Bench]) -> None:
    one = benches["sd1"]
    plain = read(one, "a red fox", guidance_scale=None).embeds[0]
    weighted = read(one, "a (red:1.4) fox", guidance_scale=None).embeds[0]
    factors = torch.ones(77, 1)
    factors[2:5] = 1.4  # a, then three letters of a tokenizer of bytes
    multiplied = plain * factors
    scale = plain.mean() / multiplied.mean()
    expected = multiplied * scale if 0.25 < scale < 4 else multiplied
    assert torch.allclose(weighted, expected, atol=1e-5)


def test_a_weight_of_nothing_and_hostile_weights_still_draw(benches: dict[str, Bench]) -> None:
    for prompt in ("(a red fox:0)", "(fox:-1)", "(" * 300 + "fox" + ")" * 300, "(fox:99999999)"):
        assert np.isfinite(benches["sd1"].ours(prompt=prompt, steps=1)).all()


def test_ten_thousand_tags_are_read(benches: dict[str, Bench]) -> None:
    text = read(benches["sd1"], "a," * 10_000, guidance_scale=None)
    assert text.embeds.shape[1] == 77 * -(-20_000 // 74)  # each piece is cut after a comma
    assert bool(torch.isfinite(text.embeds).all())


# long prompts


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_long_prompt_is_read_to_its_end_and_the_other_is_filled_up(
    benches: dict[str, Bench], family: str
) -> None:
    one = benches[family]
    text = read(one, LONG, "blurry")
    assert text.embeds.shape[0] == 2
    assert text.embeds.shape[1] % 77 == 0
    assert text.embeds.shape[1] > 77
    assert not same(text, read(one, LONG + ", at night", "blurry"))
    last = one.execute(prompt=LONG, negative_prompt="blurry", steps=1)
    assert isinstance(last, Drawn)
    assert one.said(Notice) == []


def test_each_piece_is_read_by_itself(benches: dict[str, Bench]) -> None:
    both = read(benches["sd1"], "a fox BREAK a wolf", guidance_scale=None).embeds
    fox = read(benches["sd1"], "a fox", guidance_scale=None).embeds
    wolf = read(benches["sd1"], "a wolf", guidance_scale=None).embeds
    assert torch.allclose(both, torch.cat([fox, wolf], dim=1), atol=1e-6)


def test_the_pooled_text_of_sdxl_is_that_of_the_first_piece(benches: dict[str, Bench]) -> None:
    one = benches["sdxl"]
    both, fox = read(one, "a fox BREAK a wolf", "x"), read(one, "a fox", "x")
    assert torch.allclose(both.added["text_embeds"], fox.added["text_embeds"], atol=1e-6)


# layers


@pytest.mark.parametrize(("family", "clip_skip", "theirs"), [
    ("sd1", 1, 0), ("sd1", 2, 1), ("sd1", 3, 2), ("sd2", 2, 1), ("sdxl", 2, 0), ("sdxl", 3, 1),
])  # fmt: skip
def test_clip_skip_reads_the_layer_that_diffusers_reads(
    benches: dict[str, Bench], family: str, clip_skip: int, theirs: int
) -> None:
    one = benches[family]
    ours = read(one, "a red fox", "blurry", clip_skip=clip_skip).embeds
    kind: Any = StableDiffusionXLPipeline if family == "sdxl" else StableDiffusionPipeline
    more: dict[str, Any] = {} if family == "sdxl" else {"safety_checker": None}
    pipeline = kind.from_pretrained(one.folder, local_files_only=True, **more)
    # diffusers asks for the final norm under the name that it had in transformers 4
    object.__setattr__(pipeline.text_encoder, "text_model", pipeline.text_encoder)
    with torch.inference_mode():
        found = pipeline.encode_prompt(
            prompt="a red fox",
            negative_prompt="blurry",
            device=CPU,
            num_images_per_prompt=1,
            do_classifier_free_guidance=True,
            clip_skip=theirs or None,
        )
    assert torch.allclose(ours[1], found[0][0], atol=1e-6)


def test_clip_skip_of_the_trained_layer_changes_nothing_and_one_too_deep_is_refused(
    benches: dict[str, Bench],
) -> None:
    assert same(read(benches["sd1"], "fox"), read(benches["sd1"], "fox", clip_skip=1))
    assert same(read(benches["sdxl"], "fox"), read(benches["sdxl"], "fox", clip_skip=2))
    assert not same(read(benches["sdxl"], "fox"), read(benches["sdxl"], "fox", clip_skip=1))
    with pytest.raises(DrawInvalid, match="has 3 layers"):
        read(benches["sd1"], "fox", clip_skip=4)
    last = benches["sd1"].execute(clip_skip=12)
    assert isinstance(last, DrawFailed)
    assert last.code == "draw.invalid"


# textual inversions

WORD = "embedding:bad (v1:2)"


def inversion(path: Path, **tensors: torch.Tensor) -> tuple[EmbeddingUse, ...]:
    save_file(tensors, path)
    return (EmbeddingUse(word=WORD, path=str(path)),)


def vectors(count: int, width: int, seed: int = 5) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["emb_params", "<bad>", "string_to_param.*"])
def test_a_textual_inversion_stands_in_the_prompt_as_its_vectors(
    benches: dict[str, Bench], tmp_path: Path, name: str
) -> None:
    """A file with the vectors of a word that CLIP knows reads as that word does, wherever it stands."""
    one = benches["sd1"]
    table = one.family._parts.modules["text_encoder"].get_input_embeddings().weight.detach()  # type: ignore[attr-defined]
    fox = BYTES("fox", add_special_tokens=False).input_ids
    use = inversion(tmp_path / "bad.safetensors", **{name: table[fox].clone()})
    for template in ("a {} runs", "({}:1.3), {}", "a BREAK {}", "{}"):
        prompt, meant = template.replace("{}", WORD), template.replace("{}", "fox")
        assert same(read(one, prompt, meant, embeddings=use), read(one, meant, meant))
        assert same(read(one, meant, prompt, embeddings=use), read(one, meant, meant))


def test_sdxl_reads_vectors_for_both_encoders(benches: dict[str, Bench], tmp_path: Path) -> None:
    one = benches["sdxl"]
    use = inversion(tmp_path / "bad.safetensors", clip_l=vectors(2, 32), clip_g=vectors(2, 40))
    other = inversion(tmp_path / "c.safetensors", clip_l=vectors(2, 32), clip_g=vectors(2, 40, seed=6))
    first, second = (read(one, f"a {WORD}", embeddings=found) for found in (use, other))
    assert torch.equal(first.embeds[..., :32], second.embeds[..., :32])
    assert not torch.equal(first.embeds[..., 32:], second.embeds[..., 32:])


def test_nothing_of_a_textual_inversion_is_left_behind(benches: dict[str, Bench], tmp_path: Path) -> None:
    one = benches["sd1"]
    before = one.ours(prompt=f"a {WORD}", steps=2)
    use = inversion(tmp_path / "bad.safetensors", emb_params=vectors(4, 32))
    changed = one.ours(prompt=f"a {WORD}", steps=2, embeddings=use)
    assert not np.array_equal(before, changed)
    assert np.array_equal(before, one.ours(prompt=f"a {WORD}", steps=2))


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"emb_params": vectors(1, 768)}, "768, as models of the family Stable Diffusion 1.x read; .* 32"),
        ({"clip_l": vectors(1, 768), "clip_g": vectors(1, 1280)}, "768 and 1280, .*Stable Diffusion XL"),
        ({"emb_params": torch.full((1, 32), torch.nan)}, "not finite"),
        ({"emb_params": torch.ones((1, 32), dtype=torch.int32)}, "not finite"),
        ({"emb_params": vectors(76, 32)}, "1 to 75 vectors"),
        ({"emb_params": torch.zeros(0, 32)}, "1 to 75 vectors"),
        ({"emb_params": torch.zeros(1, 1, 32)}, "1 to 75 vectors"),
        ({"a": vectors(1, 32), "b": vectors(1, 32)}, "no textual inversion"),
        ({f"lora.{n}": vectors(1, 1) for n in range(2000)}, "2000 tensors"),
    ],
)
def test_a_file_that_is_none_or_does_not_fit_is_refused_with_its_numbers(
    benches: dict[str, Bench], tmp_path: Path, tensors: dict[str, torch.Tensor], says: str
) -> None:
    use = inversion(tmp_path / "bad.safetensors", **tensors)
    with pytest.raises(DrawInvalid, match=says):
        read(benches["sd1"], WORD, embeddings=use)


def test_a_pickle_or_a_torn_file_is_refused_and_the_next_draw_works(
    benches: dict[str, Bench], tmp_path: Path
) -> None:
    for name, content in (("bad.pt", b"\x80\x02}q\x00."), ("torn.safetensors", b"\x10"), ("x", b"")):
        (tmp_path / name).write_bytes(content)
        use = (EmbeddingUse(word=WORD, path=str(tmp_path / name)),)
        last = benches["sd1"].execute(prompt=WORD, embeddings=use)
        assert isinstance(last, DrawFailed), name
        assert last.code == "draw.invalid"
    assert isinstance(benches["sd1"].execute(steps=1), Drawn)


# what is remembered


@contextmanager
def counted(one: Bench) -> Iterator[list[int]]:
    """How many questions the text encoder is asked."""
    calls: list[int] = []
    encoder = one.family._parts.modules["text_encoder"]  # type: ignore[attr-defined]
    handle = encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        yield calls
    finally:
        handle.remove()


def test_the_same_words_are_read_once(benches: dict[str, Bench], tmp_path: Path) -> None:
    one = benches["sd1"]
    studio = one.studio()
    use = inversion(tmp_path / "bad.safetensors", emb_params=vectors(1, 32))

    def asks(**request: Any) -> int:
        with counted(one) as calls:
            assert isinstance(studio.execute(a_draw(steps=1, **request)), Drawn)
        return len(calls)

    assert asks() == 1
    assert asks(seeds=(8, 9), guidance_scale=7.0, width=32, scheduler="ddim") == 0
    assert asks(guidance_scale=1.0) == 1
    assert asks(negative_prompt="blurry") == 1
    assert asks(clip_skip=2) == 1
    assert asks(prompt=WORD, embeddings=use) == 1
    assert asks(prompt=WORD, embeddings=use) == 0
    assert asks(prompt=WORD) == 1
    save_file({"emb_params": vectors(1, 32, seed=9)}, tmp_path / "bad.safetensors")
    os.utime(tmp_path / "bad.safetensors", ns=(1, 1))
    assert asks(prompt=WORD, embeddings=use) == 1
    assert asks() == 0


def test_a_remembered_text_draws_the_same_picture_and_keeps_the_new_guidance(
    benches: dict[str, Bench],
) -> None:
    one = benches["sdxl"]
    studio = one.studio()
    for guidance in (5.0, 9.0, 5.0):
        studio.execute(a_draw(guidance_scale=guidance))
    first, second, third = one.pictures()
    assert np.array_equal(first, third)
    assert not np.array_equal(first, second)


def test_sdxl_reads_again_for_another_size(benches: dict[str, Bench]) -> None:
    one = benches["sdxl"]
    studio = one.studio()
    studio.execute(a_draw(steps=1))
    with counted(one) as calls:
        studio.execute(a_draw(steps=1, width=32))
    assert len(calls) == 2


def test_the_least_recently_used_text_is_forgotten_first() -> None:
    cache = TextCache(CPU, limit_bytes=2 * 400)
    made: list[str] = []

    def text(name: str, numbers: int = 100) -> Text:
        return cache.recall(name, lambda: made.append(name) or Text(torch.zeros(numbers), None, 0))  # type: ignore[func-returns-value]

    for name in ("a", "b", "a", "c", "a", "b"):
        text(name)
    assert made == ["a", "b", "c", "b"]
    text("huge", numbers=1000)
    assert cache.kept_bytes == 800
    text("a")
    assert made == ["a", "b", "c", "b", "huge"]


def test_what_a_text_depends_on_is_in_its_key() -> None:
    told = {"guidance_scale": 3.0, "width": 64, "height": 64}

    def key(pictures: Any = (), fingerprint: Any = (), **request: Any) -> Any:
        draw = a_draw(**request)
        now = told | {"guidance_scale": draw.guidance_scale}
        return text_key(draw, now, sized=True, scaled=True, fingerprint=fingerprint, pictures=pictures)

    white = np.full((4, 4, 3), 255, np.uint8)
    assert key() == key(seeds=(99,), steps=3)
    different = [
        key(),
        key(prompt="x"),
        key(negative_prompt="x"),
        key(guidance_scale=1.5),
        key(fingerprint=(("lora", 0.8),)),
        key(pictures=(picture_key(white),)),
        key(pictures=(picture_key(white.reshape(2, 8, 3)),)),
    ]
    assert len(set(different)) == len(different)
