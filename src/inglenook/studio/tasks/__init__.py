# SPDX-License-Identifier: Apache-2.0
"""What the studio must know of a kind of task; classification is the first."""
