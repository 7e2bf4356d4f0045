# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from inglenook.pixels.histogram import MAX_COLORS_APART, counted
from inglenook.pixels.model import Quantiser
from inglenook.pixels.nearest import nearest
from inglenook.pixels.oklab import distances, to_oklab
from inglenook.pixels.quantise import best_of, is_binned, ordered, palette_of
from inglenook.pixels.rare import merge_rare

PICTURES = nps.arrays(np.uint8, st.tuples(st.integers(0, 12), st.integers(1, 12), st.just(3)))
EVERY_WAY = pytest.mark.parametrize("how", list(Quantiser))


def chosen(rgb, colors, how=Quantiser.K_MEANS, seed=0):
    seen = counted(rgb)
    return palette_of(seen.rgb, seen.counts, colors, how, seed)


def off(rgb, palette):
    """Root of the mean squared OKLab distance to the nearest entry."""
    gap = distances(to_oklab(rgb), to_oklab(palette)[nearest(palette, rgb)])
    return float(np.sqrt((gap.astype(np.float64) ** 2).mean()))


def clusters(rng, middles, spread=4, each=200):
    noise = rng.normal(0, spread, (len(middles), each, 3))
    return np.clip(np.array(middles)[:, None] + noise, 0, 255).astype(np.uint8)


@EVERY_WAY
@settings(max_examples=25, deadline=None)
@given(rgb=PICTURES, colors=st.integers(1, 256), seed=st.integers(0, 2**63))
def test_never_more_colours_than_asked_and_the_pictures_own_where_they_are_few(how, rgb, colors, seed):
    palette = chosen(rgb, colors, how, seed)
    own = counted(rgb).rgb
    assert palette.dtype == np.uint8
    assert len(palette) == len(counted(palette).rgb) <= colors
    if len(own) <= colors:
        assert (counted(palette).rgb == own).all()
    elif len(own):
        assert len(palette) >= 1


@EVERY_WAY
def test_the_same_picture_gives_the_same_palette_whatever_the_order_of_its_pixels(how):
    rng = np.random.default_rng(5)
    rgb = rng.integers(0, 256, (3000, 3), dtype=np.uint8)
    assert (chosen(rgb, 12, how) == chosen(rng.permutation(rgb), 12, how)).all()


@pytest.mark.parametrize("how", [Quantiser.K_MEANS, Quantiser.OCTREE])  # median cut halves, also what is one
def test_well_parted_colours_are_found(how):
    middles = [(220, 40, 40), (40, 200, 60), (40, 60, 220), (230, 220, 60), (20, 20, 20), (240, 240, 240)]
    rgb = clusters(np.random.default_rng(1), middles)
    palette = chosen(rgb, len(middles), how)
    reached = distances(
        to_oklab(np.array(middles, np.uint8)),
        to_oklab(palette)[nearest(palette, np.array(middles, np.uint8))],
    )
    assert len(palette) == len(middles)
    assert reached.max() < 0.03


def test_k_means_comes_nearer_than_the_other_two():
    rgb = np.random.default_rng(2).integers(0, 256, (4000, 3), dtype=np.uint8)
    errors = {how: off(rgb, chosen(rgb, 16, how)) for how in Quantiser}
    assert min(errors, key=errors.__getitem__) is Quantiser.K_MEANS


def test_another_seed_may_give_another_palette_and_the_same_seed_never_does():
    rgb = np.random.default_rng(3).integers(0, 256, (2000, 3), dtype=np.uint8)
    palettes = {seed: chosen(rgb, 8, seed=seed).tobytes() for seed in range(4)}
    assert len(set(palettes.values())) > 1
    assert palettes[3] == chosen(rgb, 8, seed=3).tobytes()


def test_a_frequent_colour_weighs_more_than_a_rare_one():
    rgb = np.repeat(np.array([[200, 0, 0], [210, 0, 0]], np.uint8), [999, 1], axis=0)
    assert chosen(rgb, 1).tolist() == [[200, 0, 0]]


@EVERY_WAY
def test_octrees_and_boxes_give_exactly_as_many_colours_as_asked(how):
    rgb = np.random.default_rng(4).integers(0, 256, (2000, 3), dtype=np.uint8)
    for colors in (1, 2, 7, 8, 9, 63, 255, 256):
        assert len(chosen(rgb, colors, how)) == colors


def test_very_many_colours_are_binned_and_the_palette_is_hardly_worse():
    rng = np.random.default_rng(6)
    rgb = np.clip(rng.normal([[120, 80, 160]], [[60, 40, 50]], (60_000, 3)), 0, 255).astype(np.uint8)
    few = rng.permutation(rgb)[:20_000]
    assert is_binned(counted(rgb).rgb)
    assert len(counted(rgb).rgb) > MAX_COLORS_APART > len(counted(few).rgb)
    assert off(few, chosen(rgb, 16)) < 1.05 * off(few, chosen(few, 16))


@pytest.mark.parametrize("colors", [0, -1, 257, 300])
def test_a_palette_of_no_colour_or_of_more_than_256_is_refused(colors):
    with pytest.raises(ValueError, match=str(colors)):
        chosen(np.zeros((4, 3), np.uint8), colors)


def test_a_picture_without_colours_has_a_palette_without_colours():
    assert chosen(np.zeros((0, 3), np.uint8), 16).shape == (0, 3)


def test_palettes_go_from_dark_to_light():
    palette = ordered(
        np.array([[255, 255, 255], [0, 0, 255], [0, 0, 0], [255, 255, 0], [0, 0, 255]], np.uint8)
    )
    assert palette.tolist() == [[0, 0, 0], [0, 0, 255], [255, 255, 0], [255, 255, 255]]


@settings(max_examples=25, deadline=None)
@given(nps.arrays(np.uint8, st.tuples(st.integers(1, 256), st.just(3))), PICTURES)
def test_the_nearest_entry_is_the_first_of_those_at_the_least_distance(palette, rgb):
    index = nearest(palette, rgb)
    table = distances(to_oklab(rgb)[..., None, :], to_oklab(palette)) ** 2
    brute = distances(to_oklab(rgb), to_oklab(palette)[index]) ** 2
    assert index.shape == rgb.shape[:-1]
    assert np.allclose(brute, table.min(-1), atol=1e-12)
    same = (rgb[..., None, :] == palette).all(-1)
    assert (index[same.any(-1)] == same.argmax(-1)[same.any(-1)]).all()


def test_a_palette_that_is_empty_or_too_long_has_no_nearest_entry():
    for count in (0, 257):
        with pytest.raises(ValueError, match=str(count)):
            nearest(np.zeros((count, 3), np.uint8), np.zeros((1, 3), np.uint8))


def test_of_a_fixed_palette_the_entries_remain_that_the_picture_needs_most():
    palette = np.array([[0, 0, 0], [255, 0, 0], [250, 0, 0], [0, 0, 255], [0, 255, 0]], np.uint8)
    seen = counted(np.repeat(palette[:4], [50, 30, 5, 40], axis=0))
    assert best_of(palette, seen.rgb, seen.counts, 256).tolist() == [0, 1, 2, 3]
    assert best_of(palette, seen.rgb, seen.counts, 3).tolist() == [0, 1, 3]
    assert best_of(palette, np.zeros((0, 3), np.uint8), np.zeros(0, np.int64), 2).tolist() == [0, 1]


@settings(max_examples=50, deadline=None)
@given(
    nps.arrays(np.uint8, st.tuples(st.integers(1, 60), st.just(3))),
    st.floats(0, 0.5),
    st.randoms(use_true_random=False),
)
def test_after_merging_each_colour_that_remains_covers_the_share(rgb, share, random):
    rgb = counted(rgb).rgb
    counts = np.array([random.randint(1, 1000) for _ in rgb])
    target = merge_rare(rgb, counts, share)
    after = np.bincount(target, counts, len(rgb))
    left = after[after > 0]
    assert (target[target] == target).all()
    assert len(left) == 1 or left.min() >= share * counts.sum()
    assert after.sum() == counts.sum()


def test_a_rare_colour_joins_its_nearest_and_shades_that_are_many_together_keep_one():
    rgb = np.array([[0, 0, 0], [200, 0, 0], [202, 0, 0], [204, 0, 0], [0, 250, 0], [8, 8, 8]], np.uint8)
    counts = np.array([500, 20, 25, 20, 430, 5])
    target = merge_rare(rgb, counts, 0.05)
    assert target.tolist() == [0, 2, 2, 2, 4, 0]
    assert merge_rare(rgb, counts, 0).tolist() == [0, 1, 2, 3, 4, 5]


def test_merging_goes_over_very_many_colours_too():
    rgb = counted(np.random.default_rng(7).integers(0, 256, (30_000, 3), dtype=np.uint8)).rgb
    target = merge_rare(rgb, np.ones(len(rgb), np.int64), 0.01)
    left = np.bincount(target)
    assert left[left > 0].min() >= 0.01 * len(rgb)
    assert (left > 0).sum() > 10
