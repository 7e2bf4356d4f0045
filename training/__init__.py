# SPDX-License-Identifier: Apache-2.0
"""Training of the models that Inglenook ships. Not part of the installed package."""
