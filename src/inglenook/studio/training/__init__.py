# SPDX-License-Identifier: Apache-2.0
"""Experiments: one configuration, one split, one run that can be stopped and go on."""
