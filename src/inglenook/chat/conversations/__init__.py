# SPDX-License-Identifier: Apache-2.0
"""Conversations that are kept: private, searchable, branching, to take along."""
