# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a data set: found once for each version, shown as pictures to act on."""
