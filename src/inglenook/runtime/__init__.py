# SPDX-License-Identifier: Apache-2.0
"""The accelerator and who may use it. Read `design.md` beside this file before you edit."""
