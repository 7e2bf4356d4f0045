# SPDX-License-Identifier: Apache-2.0
"""A training gives way to a picture where there is room for only one of them, and has lost nothing by it."""

from pathlib import Path

import pytest

from inglenook.testing.server import RunningServer
from tests.e2e.workbench import Workbench
from tests.studio_http import Http
from tests.studio_luck import ENVIRON, RATIOS, numbers, project_with, trained

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EPOCHS = 100


def test_a_training_is_parked_for_a_picture_says_for_whom_and_has_the_figures_of_one_that_was_not(
    tmp_path: Path,
) -> None:
    # Room for one. By memory it would never fit here: of a network as small as this next to nothing is given
    # back by parking, for what the process takes is its libraries.
    environ = ENVIRON | {
        "INGLENOOK_RUNTIME__MAX_LOADED": "1",
        "INGLENOOK_RUNTIME__TRAINING_SLICE_S": "1",
        "INGLENOOK_RUNTIME__SWITCH_PATIENCE_S": "0.5",
    }
    with RunningServer.start(tmp_path, environ=environ) as server:
        http = project_with(server.base_url, {"a": 12, "b": 12}, RATIOS)
        parted, whole = http.make("parted", max_epochs=EPOCHS), http.make("whole", max_epochs=EPOCHS)
        http.act(parted, "train")
        http.until(parted, event="epoch_end", epoch=1)
        order = Workbench(server).order(prompt="a red fox", n=2, steps=40)
        told = until_parked(http, parted)
        assert "picture" in told["text"], told
        assert http.get(parted)["status"] == "training"
        assert http.get(parted)["parking"]["since"]
        job = http.client.get(f"/v1/jobs/{http.get(parted)['job']}").json()
        assert job["state"] == "paused"
        assert Workbench(server).finished(order["id"])["state"] == "succeeded"
        http.until(parted)
        done = http.get(parted)
        assert done["status"] == "completed", done["error"]
        assert done["parking"]["times"] >= 1
        assert done["parking"]["seconds"] > 0
        assert done["parking"]["since"] is None
        assert trained(http, whole)["parking"]["times"] == 0
        assert numbers(http, parted) == numbers(http, whole)
        assert len(numbers(http, whole)) == EPOCHS


def until_parked(http: Http, experiment: str) -> dict[str, object]:
    for name, _, said in http.events(experiment):
        if name == "parking" and said["parked"]:
            return said
    raise AssertionError(f"it was never parked: {http.get(experiment)['status']}")
