# SPDX-License-Identifier: Apache-2.0
"""The folder that server and worker share, when its disk is full."""

import sys
from pathlib import Path

import numpy as np
import pytest

from inglenook.workers.image.spool import Spool
from inglenook.workers.telling import NoRoom

PIXELS = np.zeros((64, 64, 3), np.uint8)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full is Linux's")
def test_a_picture_that_finds_no_room_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / ".picture-000001.png.part").symlink_to("/dev/full")
    spool = Spool(tmp_path)
    with pytest.raises(NoRoom, match="no room on the disk") as caught:
        spool.write("picture", PIXELS)
    assert caught.value.code == "store.disk_full"
    assert list(tmp_path.iterdir()) == []
    assert spool.write("picture", PIXELS) == "picture-000002.png"


def test_a_folder_that_is_gone_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Spool(tmp_path / "gone").write("picture", PIXELS)
