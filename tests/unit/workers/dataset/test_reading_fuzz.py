# SPDX-License-Identifier: Apache-2.0
"""Damaged pictures and archives, thousands of them: refused with words, never anything worse."""

import io
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.dataset_trees import picture, unless_refused
from tests.unit.workers.dataset.reading import read

from inglenook.wire.studio.dataset import ArchiveSource, TableSource
from inglenook.workers.dataset.pictures import look

pytestmark = pytest.mark.slow

MANY = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12)


def changed(data: bytes, changes, cut: float) -> bytes:
    bytes_ = bytearray(data[: max(1, int(len(data) * cut))])
    for where, value in changes:
        bytes_[int(where * (len(bytes_) - 1))] = value
    return bytes(bytes_)


PICTURES = [picture(1, form=form) for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")]


@MANY
@given(st.sampled_from(PICTURES), CHANGES, st.sampled_from([1.0, 1.0, 0.5]))
def test_a_damaged_picture_is_taken_or_refused_with_words(data, changes, cut):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p"
        path.write_bytes(changed(data, changes, cut))
        small = Path(folder) / "s"
        seen = unless_refused(lambda: look(path, pixels=10_000, thumbnail=small, thumbnail_px=8))
        assert seen is None or seen.width * seen.height <= 10_000


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for n in range(3):
            made.writestr(f"c{n}/{n}.png", picture(n, size=(6, 6)))
        made.writestr("labels.csv", "filename,label\nc0/0.png,x\n")
    return buffer.getvalue()


def table() -> bytes:
    buffer = io.BytesIO()
    made = pa.table({"image": [picture(n, size=(6, 6)) for n in range(3)], "label": ["a", "b", "c"]})
    pq.write_table(made, buffer)
    return buffer.getvalue()


ARCHIVE, TABLE = archive(), table()


@MANY
@given(CHANGES, st.sampled_from([1.0, 1.0, 0.8]))
def test_a_damaged_archive_is_read_or_refused_with_words(changes, cut):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.zip"
        path.write_bytes(changed(ARCHIVE, changes, cut))
        unless_refused(lambda: read(ArchiveSource(path=str(path)), Path(folder) / "out"))
        inside = {entry.name for entry in Path(folder).iterdir()}
        assert inside <= {"a.zip", "out", "spool"}


@MANY
@given(CHANGES, st.sampled_from([1.0, 1.0, 0.8]))
def test_a_damaged_table_is_read_or_refused_with_words(changes, cut):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        path.write_bytes(changed(TABLE, changes, cut))
        with suppress(MemoryError):  # of a length that was changed: the child is bounded, and says so
            unless_refused(lambda: read(TableSource(path=str(path)), Path(folder) / "out"))
