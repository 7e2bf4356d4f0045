# SPDX-License-Identifier: Apache-2.0
"""What the server and the studio's worker say to each other, and the configurations that both read."""
