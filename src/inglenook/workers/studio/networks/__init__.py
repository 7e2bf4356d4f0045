# SPDX-License-Identifier: Apache-2.0
"""Networks and their first weights.

small      two networks of ours for small pictures
backbones  a name to a network without its head: torchvision's, timm's, ours
weights    where trained weights lie, and how they are put in: files, a package, the hub
"""
