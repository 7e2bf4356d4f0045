# SPDX-License-Identifier: Apache-2.0
"""What we claim, measured. `make benchmarks` runs all and writes docs/benchmarks.md."""
