# SPDX-License-Identifier: Apache-2.0
"""What is kept: the database and its migrations, atomic files, blobs, the lock of the data folder."""
