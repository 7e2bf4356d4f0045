# SPDX-License-Identifier: Apache-2.0
"""How each engine is started and spoken to: one file (or folder) an engine, none knows another."""
