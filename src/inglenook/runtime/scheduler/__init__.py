# SPDX-License-Identifier: Apache-2.0
"""Who gets the accelerator next.

Pure decisions (`policy`, `eviction`, `ledger`), and the one task that carries them out (`loop`).
"""
