# SPDX-License-Identifier: Apache-2.0
"""The pictures of a project, what is said about each, and every version of that."""
