# SPDX-License-Identifier: Apache-2.0
"""Messages between the server and its workers: tagged, versioned, frozen, one JSON object a line."""
