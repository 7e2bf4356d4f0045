# SPDX-License-Identifier: Apache-2.0
"""A checkpoint to a file that runs elsewhere, checked on real pictures before anybody gets it.

handler        the work from message to last word
kept           a checkpoint as a network with all that is needed to use it
steps          torchvision's steps as `vision.preprocessing` has them
onnx_files     tracing, cleaning and describing an ONNX file
pictures       the pictures on which a file is checked
checking       the file beside the checkpoint
quantising     8-bit integers
errors         what can go wrong
"""
