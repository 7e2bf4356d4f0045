# SPDX-License-Identifier: Apache-2.0
"""llama.cpp's own HTTP server, out of the library that the package `xllamacpp` ships."""
