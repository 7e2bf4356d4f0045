# SPDX-License-Identifier: Apache-2.0
"""The starter model: text to image, small enough to ship, trained from open pictures. See README.md."""
