# SPDX-License-Identifier: Apache-2.0
"""Which pictures are the same, and which look the same."""

import numpy as np
import pytest
from PIL import Image
from tests.dataset_trees import scene

from inglenook.vision.checks.alike import groups_of, near_groups
from inglenook.vision.checks.model import MAX_DISTANCE
from inglenook.vision.pictures import dhash, viewable


def by_hand(hashes, distance):
    """Connected groups, by comparing everything with everything."""
    parent = list(range(len(hashes)))

    def root(at):
        while parent[at] != at:
            at = parent[at]
        return at

    for first in range(len(hashes)):
        for second in range(first + 1, len(hashes)):
            if int(hashes[first] ^ hashes[second]).bit_count() <= distance:
                parent[max(root(first), root(second))] = min(root(first), root(second))
    return groups_of([root(at) for at in range(len(hashes))])


@pytest.mark.parametrize("distance", [0, 1, 3, 5, MAX_DISTANCE])
def test_near_groups_are_those_of_comparing_everything(distance):
    random = np.random.default_rng(distance)
    base = random.integers(0, 2**64, 60, np.uint64)
    hashes = np.repeat(base, 4)
    for at in range(len(hashes)):
        for bit in random.integers(0, 64, random.integers(0, distance + 3)):
            hashes[at] ^= np.uint64(1) << np.uint64(bit)
    assert near_groups(hashes, distance) == by_hand(hashes, distance)


def test_nothing_and_one_are_no_groups():
    assert near_groups(np.array([], np.uint64), 3) == []
    assert near_groups(np.array([7], np.uint64), 3) == []


def test_a_distance_out_of_bounds_is_refused():
    with pytest.raises(ValueError, match="13 bits"):
        near_groups(np.array([1, 2], np.uint64), 13)


def test_comparing_can_be_stopped():
    class Stop(Exception):
        pass

    def stop():
        raise Stop

    with pytest.raises(Stop):
        near_groups(np.array([1, 2, 3], np.uint64), 3, look=stop)


def test_a_picture_that_was_made_smaller_and_squeezed_has_nearly_the_same_hash(tmp_path):
    original = scene(1, size=(320, 240))
    original.resize((160, 120)).save(tmp_path / "small.jpg", quality=60)
    with Image.open(tmp_path / "small.jpg") as small:
        other = int(dhash(small) or "", 16)
    assert (int(dhash(original) or "", 16) ^ other).bit_count() <= 3
    assert (int(dhash(scene(2)) or "", 16) ^ other).bit_count() > 12


def test_a_flat_picture_has_no_hash():
    assert dhash(Image.new("L", (20, 20), 128)) is None


def test_sixteen_bit_greys_keep_their_range():
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    seen = np.asarray(viewable(Image.fromarray(values)))
    assert (seen.min(), seen.max()) == (0, 255)
    assert len(np.unique(seen)) == 256


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F"]
)
def test_every_mode_becomes_grey_or_rgb(mode):
    assert viewable(Image.new(mode, (3, 2))).mode in ("L", "RGB")


def test_what_is_transparent_becomes_white():
    clear = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
    assert viewable(clear).getpixel((0, 0)) == (255, 255, 255)
