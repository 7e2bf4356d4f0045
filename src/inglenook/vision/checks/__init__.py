# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a set of labelled pictures, found from what is known of each. Pure; numpy."""
