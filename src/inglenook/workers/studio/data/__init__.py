# SPDX-License-Identifier: Apache-2.0
"""Pictures on their way to a network.

manifest     the lines of a run's manifest, and what is in its parts
pictures     one file to pixels
transforms   the augmentations of a spec as torchvision's, checked before they are used
sampling     which example comes when: a function of the seed and the epoch
dataset      one example: read, augmented as (seed, epoch, example) say, or named as unreadable
loading      batches, from where a run goes on
"""
