# SPDX-License-Identifier: Apache-2.0
"""The handler of `Embed`: features of pictures, and where they lie on a plane."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import nn

from inglenook.wire.message import Message
from inglenook.wire.studio.evaluation import FEATURES, PLACES, Embed, Embedded, WorkStopped
from inglenook.wire.studio.spec import ModelSpec
from inglenook.workers.studio.context import Context
from inglenook.workers.studio.data.transforms import Pipeline, default_steps
from inglenook.workers.studio.evaluation.looking import Halted, look, read_examples
from inglenook.workers.studio.evaluation.telling import told, write_array
from inglenook.workers.studio.kept import load_kept
from inglenook.workers.studio.networks.backbones import build_backbone, facts_of
from inglenook.workers.studio.networks.weights import load_first_weights

FIRST_COMPONENTS = 50
"""What t-SNE begins from, as its authors do (van der Maaten and Hinton, 2008)."""
PERPLEXITY = 30.0
FEWEST_FOR_TSNE = 5


@dataclass(frozen=True, slots=True)
class _Eye:
    backbone: nn.Module
    pipeline: Pipeline
    weights: str


def embed(work: Embed, context: Context) -> Message:
    """Writes `FEATURES` and `PLACES`, each whole or not at all."""
    return told(work.job, lambda: _embedded(work, context))


def _embedded(work: Embed, context: Context) -> Message:
    began = context.clock.monotonic()
    examples = read_examples(Path(work.manifest))
    eye = _opened(work, context)
    try:
        looked = look(
            examples,
            eye.pipeline,
            eye.backbone.to(context.device.torch),
            job=work.job,
            batch_size=work.batch_size,
            context=context,
        )
    except Halted as halted:
        return WorkStopped(job=work.job, done=halted.done)
    read = np.isfinite(looked.rows).all(axis=1)
    where = np.full((len(looked.rows), 2), np.nan, np.float32)
    where[read] = places(looked.rows[read], work.method, work.seed)
    if context.should_stop():
        return WorkStopped(job=work.job, done=len(examples))
    write_array(Path(work.folder) / FEATURES, looked.rows)
    write_array(Path(work.folder) / PLACES, where)
    return Embedded(
        job=work.job,
        weights=eye.weights,
        dimensions=int(looked.rows.shape[1]),
        seconds=context.clock.monotonic() - began,
        unreadable=looked.unreadable,
    )


def _opened(work: Embed, context: Context) -> _Eye:
    """Raises BadCheckpoint, NoWeights, UnknownModel."""
    if work.checkpoint is not None:
        path = Path(work.checkpoint)
        kept = load_kept(path)
        return _Eye(
            kept.network.backbone, kept.pipeline(), f"checkpoint {path.stem}, epoch {kept.about['epoch']}"
        )
    facts = facts_of(work.backbone)
    backbone = build_backbone(facts, (facts.input_px, facts.input_px))
    wanted = ModelSpec(backbone=facts.name, pretrained=True)
    origin = load_first_weights(backbone, facts, wanted, models=context.models)
    backbone.eval().requires_grad_(requires_grad=False)
    return _Eye(backbone, Pipeline(default_steps(facts), "val"), origin.said)


def places(features: np.ndarray, method: str, seed: int) -> np.ndarray:
    """float32 [N, 2] in [-1, 1], both axes on one scale. `features`: float32 [N, D], finite.

    Too few pictures for t-SNE are laid out by their principal components.
    """
    count, wide = features.shape
    if count < 2 or (features == features[0]).all():
        return np.zeros((count, 2), np.float32)
    parts = min(FIRST_COMPONENTS if method == "tsne" else 2, count, wide)
    solver = "randomized" if parts < min(count, wide) else "full"
    found = PCA(n_components=parts, svd_solver=solver, random_state=seed).fit_transform(features)
    if method == "tsne" and count >= FEWEST_FOR_TSNE:
        perplexity = min(PERPLEXITY, (count - 1) / 3)
        init = "pca" if parts >= 2 else "random"
        found = TSNE(perplexity=perplexity, init=init, random_state=seed, n_jobs=1).fit_transform(found)
    flat = np.zeros((count, 2), np.float64)
    flat[:, : min(2, found.shape[1])] = np.nan_to_num(found[:, :2])
    flat -= (flat.max(axis=0) + flat.min(axis=0)) / 2
    return (flat / max(float(np.abs(flat).max()), 1e-12)).astype(np.float32)
