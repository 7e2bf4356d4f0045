# SPDX-License-Identifier: Apache-2.0
"""The Model Context Protocol: pictures as tools that a language model's program can call."""
