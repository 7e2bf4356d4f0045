# SPDX-License-Identifier: Apache-2.0
"""Child programs, run as `python -m inglenook.workers.<name>`: the only home of tensor libraries."""
