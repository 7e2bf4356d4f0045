# SPDX-License-Identifier: Apache-2.0
"""What a person works on: a name, a task, an owner, and who else may."""
