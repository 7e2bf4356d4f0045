# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint is worth, on which pictures, and how sure that is."""
