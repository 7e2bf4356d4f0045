# SPDX-License-Identifier: Apache-2.0
"""Where pip is looked for, and that nothing else in the process notices."""

import importlib.util
import subprocess
import sys

import pytest

_LATER = """
import sys
from inglenook.base.pip import pip_command
assert pip_command()[0] == sys.executable
import distutils.core
import setuptools
print(distutils.core.__file__)
"""


@pytest.mark.skipif(importlib.util.find_spec("setuptools") is None, reason="setuptools is not installed")
def test_a_search_for_pip_leaves_setuptools_the_distutils_that_it_brings() -> None:
    answer = subprocess.run([sys.executable, "-c", _LATER], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "setuptools" in answer.stdout
