# SPDX-License-Identifier: Apache-2.0
"""The training scripts lie outside the package: put the repository's root on the path."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
