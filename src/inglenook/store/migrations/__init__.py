# SPDX-License-Identifier: Apache-2.0
"""The database's history, one file a change in `versions/`.

To change a table: edit it in its feature's `records.py`, add a file that does the same step by step
(and back), and append its revision here. `tests/integration/test_database.py` compares the two.
"""

REVISIONS: tuple[str, ...] = (
    "0001_jobs_pictures_footprints",
    "0002_gallery",
    "0003_outgoing",
    "0004_model_options",
    "0005_conversations",
)
"""Every revision that this program knows, oldest first; at most 32 characters each."""

HEAD = REVISIONS[-1]
