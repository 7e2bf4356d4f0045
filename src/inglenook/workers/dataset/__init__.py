# SPDX-License-Identifier: Apache-2.0
"""The child that opens files of data sets: hostile ones too. No accelerator, no lease, no tensor library."""
