# SPDX-License-Identifier: Apache-2.0
"""From a folder of pictures to a model that is served: projects, data sets, splits, training, evaluation,
export.
"""
