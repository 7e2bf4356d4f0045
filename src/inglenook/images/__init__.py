# SPDX-License-Identifier: Apache-2.0
"""One picture: request → lease → progress → result → gallery."""
