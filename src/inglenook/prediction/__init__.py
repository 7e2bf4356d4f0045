# SPDX-License-Identifier: Apache-2.0
"""What a picture shows, by a vision model of the library: labels and scores."""
