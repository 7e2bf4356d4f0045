# SPDX-License-Identifier: Apache-2.0
"""With which code an experiment runs. Blocks: asks git, where there is one."""

import subprocess
from functools import cache
from pathlib import Path

import inglenook
from inglenook.studio.training.model import Code

PATIENCE_S = 5.0


@cache
def this_code() -> Code:
    """The version, and the commit where the program runs from a git checkout of its own. Asked once."""
    package = Path(inglenook.__file__).parent
    # A checkout of somebody else's, in which we are installed, does not track our files.
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return Code(version=inglenook.__version__)
    commit = _git(package, "rev-parse", "HEAD")
    changed = _git(package, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return Code(
        version=inglenook.__version__, commit=commit, modified=None if changed is None else bool(changed)
    )


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None where it is missing, too slow or says no."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
