# SPDX-License-Identifier: Apache-2.0
"""One exchange with a language model."""
