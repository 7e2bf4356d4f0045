# SPDX-License-Identifier: Apache-2.0
"""llama.cpp's server as a child: a program that was found, or the library that a package ships."""
