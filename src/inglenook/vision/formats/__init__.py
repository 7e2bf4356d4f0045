# SPDX-License-Identifier: Apache-2.0
"""In which shapes labelled pictures come: recognised and read over a listing of files."""
