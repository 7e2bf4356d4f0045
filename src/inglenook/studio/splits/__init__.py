# SPDX-License-Identifier: Apache-2.0
"""Which pictures train, which validate, which test: made once, never changed."""
