# SPDX-License-Identifier: Apache-2.0
"""The child that trains, evaluates and exports vision models: PyTorch, Lightning, ONNX."""
