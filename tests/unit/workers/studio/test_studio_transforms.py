# SPDX-License-Identifier: Apache-2.0
"""What the server says of transforms is what torchvision has."""

import inspect

import pytest

from inglenook.studio.tasks.parameters import PARAMETERS
from inglenook.workers.studio.data.transforms import STEPS

pytestmark = pytest.mark.slow  # imports torch


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_the_server_knows_every_parameter_of_a_transform_and_which_are_needed(name: str) -> None:
    theirs = inspect.signature(STEPS[name]).parameters
    assert set(PARAMETERS[name]) == set(theirs)
    needed = {one for one, said in PARAMETERS[name].items() if said.needed}
    assert needed == {one for one, said in theirs.items() if said.default is inspect.Parameter.empty}
