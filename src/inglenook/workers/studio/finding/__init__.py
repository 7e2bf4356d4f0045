# SPDX-License-Identifier: Apache-2.0
"""What is asked before a run: which batch fits, which learning rate suits, what the augmentations make of
a picture.

trial          the network of a spec on the device, and one step of training; not Lightning's, since there
is no run batch_size     doubles until memory or speed says enough
learning_rate  raises the rate until the loss explodes
preview        pictures as the epochs will get them
"""
