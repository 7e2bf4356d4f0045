# SPDX-License-Identifier: Apache-2.0
"""What is known about labelled pictures without any framework: annotations, formats, splits, metrics."""
