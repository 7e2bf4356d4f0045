# SPDX-License-Identifier: Apache-2.0
"""A data set on a plane: pictures that look alike to a network lie side by side."""
