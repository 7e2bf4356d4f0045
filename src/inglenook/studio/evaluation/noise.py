# SPDX-License-Identifier: Apache-2.0
"""Pictures whose label is perhaps wrong, by what a trained network says of them. Pure, NumPy only."""

from typing import Final

import numpy as np

from inglenook.studio.evaluation.table import Table
from inglenook.vision.checks.model import Finding, Item

MOST: Final = 200
SURE: Final = 0.5
"""A network that gives its answer less than this is not sure enough to speak against a person."""


def suspects(table: Table, source: str) -> list[Finding]:
    """One finding or none: pictures that the network surely takes for another class than their own.

    Those that it has not learned from come first, and of them those with the greatest loss: of what was
    learned by heart, wrong labels too are given back as they are.
    """
    if not len(table):
        return []
    probabilities = table.probabilities
    predicted = probabilities.argmax(axis=1)
    sure = probabilities.max(axis=1)
    losses = table.losses()
    learned = np.array([subset == "train" for subset in table.subsets])
    against = np.flatnonzero((predicted != table.truth) & (sure >= SURE))
    if not len(against):
        return []
    order = against[np.lexsort((-losses[against], learned[against]))]
    items = tuple(
        Item(
            ids=(table.ids[row],),
            why=f"labelled {table.classes[table.truth[row]]}, looks like {table.classes[predicted[row]]} "
            f"({sure[row]:.0%} sure, loss {losses[row]:.2f}, {table.subsets[row]})",
            classes=(table.classes[table.truth[row]], table.classes[predicted[row]]),
        )
        for row in order[:MOST]
    )
    found = Finding(
        kind="label_noise",
        source=source,
        severity="warning",
        title=f"{len(against)} pictures may have the wrong label",
        help="A trained network takes them for another class. Look at each: the label is wrong, or the "
        "network is; only a person can tell.",
        pictures=len(against),
        actions=("relabel", "tag", "remove"),
        items=items,
    )
    return [found]
