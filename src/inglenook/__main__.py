# SPDX-License-Identifier: Apache-2.0
"""`python -m inglenook` and the `inglenook` command."""

from inglenook.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
