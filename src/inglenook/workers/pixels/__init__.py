# SPDX-License-Identifier: Apache-2.0
"""The pixel worker: pictures become sprites, sprites become files. No accelerator, no tensor library.

__main__   connect at once, import NumPy afterwards
worker     one piece of work after another; every last word is sent here
pictures   files of the spool folder as pixels, within bounds
making     one Pixelate: read, make, write
writing    one WriteSprites
errors     what can go wrong
"""
