# SPDX-License-Identifier: Apache-2.0
"""The vision worker: one ONNX model on one device, telling what pictures show. No torch is needed.

__main__   connect at once, import the heavy libraries afterwards
worker     load, then one Predict after another; every last word is sent here
network    the ONNX file in onnxruntime: numbers in, scores out
pictures   a file of the spool folder as the model's numbers, within bounds
errors     what can go wrong
"""
