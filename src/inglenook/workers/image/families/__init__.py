# SPDX-License-Identifier: Apache-2.0
"""One file a family of picture models; `family.py` is the contract, `registry.py` the list."""
