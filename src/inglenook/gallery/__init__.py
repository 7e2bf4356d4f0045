# SPDX-License-Identifier: Apache-2.0
"""Pictures that were made: their files, their records, who may see them."""
