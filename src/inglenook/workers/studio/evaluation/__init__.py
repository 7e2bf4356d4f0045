# SPDX-License-Identifier: Apache-2.0
"""Looking at a checkpoint: what it says of pictures, where it looks, where pictures lie in its eyes.

telling     ends of such work, as the wire names them
looking     a manifest's pictures through a network, batch by batch
predicting  the handler of `Evaluate`
explaining  the handler of `Explain`: Grad-CAM
overlay     a map of heat over the picture it belongs to
embedding   the handler of `Embed`: features on a plane
"""
