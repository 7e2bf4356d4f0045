# SPDX-License-Identifier: Apache-2.0
"""The ground everything stands on: ids, errors, units, clock, events. Standard library only."""
