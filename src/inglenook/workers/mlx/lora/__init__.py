# SPDX-License-Identifier: Apache-2.0
"""LoRAs beside the weights that they change: read and checked (`files`), attached to one Draw (`shelf`)."""
