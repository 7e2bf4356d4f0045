# SPDX-License-Identifier: Apache-2.0
"""The parts of a run on their own: losses, schedules, order, metrics, optimizers, averages."""

from collections import Counter

import numpy as np
import pytest
import torch
from sklearn import metrics as theirs
from tests.studio_pictures import spec
from torch import nn
from torch.nn import functional
from torchvision import models

from inglenook.wire.studio.backbones import BACKBONES
from inglenook.wire.studio.spec import Hyperparameters
from inglenook.wire.studio.weights import address_of
from inglenook.workers.studio.data.sampling import Key, batched, order, seed_of
from inglenook.workers.studio.errors import BadAugmentation, UnknownModel
from inglenook.workers.studio.networks.backbones import build_backbone, check_side, facts_of
from inglenook.workers.studio.tasks.classification import Classification
from inglenook.workers.studio.tasks.losses import ClassLoss, balanced_weights
from inglenook.workers.studio.tasks.metrics import BATCHES_TOGETHER, ClassMetrics
from inglenook.workers.studio.training.averaging import Average
from inglenook.workers.studio.training.optimizers import make_optimizer
from inglenook.workers.studio.training.schedule import factor

pytestmark = pytest.mark.slow

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.3, -0.2], [-1.0, 0.0, 3.0]])
TARGETS = torch.tensor([0, 2, 1])


def loss_of(**chosen: object) -> ClassLoss:
    return ClassLoss.of(Hyperparameters(**chosen), [6, 3, 1])


def test_cross_entropy_is_torchs_with_smoothing_and_weights() -> None:
    weights = torch.tensor([10 / 18, 10 / 9, 10 / 3])
    for chosen, expected in (
        ({}, functional.cross_entropy(LOGITS, TARGETS)),
        ({"loss": "default"}, functional.cross_entropy(LOGITS, TARGETS)),
        ({"label_smoothing": 0.3}, functional.cross_entropy(LOGITS, TARGETS, label_smoothing=0.3)),
        (
            {"loss": "label_smoothing_cross_entropy"},
            functional.cross_entropy(LOGITS, TARGETS, label_smoothing=0.1),
        ),
        ({"class_weights": "balanced"}, functional.cross_entropy(LOGITS, TARGETS, weight=weights)),
    ):
        assert torch.allclose(loss_of(**chosen)(LOGITS, TARGETS), expected), chosen


def test_mixed_targets_that_are_not_mixed_give_the_same_loss() -> None:
    shares = functional.one_hot(TARGETS, 3).float()
    for chosen in (
        {},
        {"label_smoothing": 0.2},
        {"class_weights": "balanced", "label_smoothing": 0.2},
        {"loss": "focal", "class_weights": "balanced"},
    ):
        loss = loss_of(**chosen)
        assert torch.allclose(loss(LOGITS, shares), loss(LOGITS, TARGETS)), chosen


def test_the_focal_loss_weighs_each_example_by_what_is_missing_to_certainty() -> None:
    chances = LOGITS.softmax(1)[torch.arange(3), TARGETS]
    for gamma in (0.0, 0.5, 2.0):
        expected = (-((1 - chances) ** gamma) * chances.log()).mean()
        assert torch.allclose(loss_of(loss="focal", focal_gamma=gamma)(LOGITS, TARGETS), expected)
    assert torch.allclose(
        loss_of(loss="focal", focal_gamma=0.0)(LOGITS, TARGETS), functional.cross_entropy(LOGITS, TARGETS)
    )


def test_balanced_weights_are_scikit_learns_and_a_class_that_is_not_there_weighs_nothing() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.repeat([0, 1, 2], [6, 3, 1])
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 2]), y=labels)
    assert balanced_weights([6, 3, 1]).tolist() == pytest.approx(expected.tolist())
    assert balanced_weights([2, 0]).tolist() == [1.0, 0.0]


def rates(**chosen: object) -> list[float]:
    given = Hyperparameters(**{"warmup_epochs": 0, "max_epochs": 10, **chosen})
    return [factor(given, epoch) for epoch in range(1, given.max_epochs + 1)]


@pytest.mark.parametrize("warm", [0, 3])
@pytest.mark.parametrize("scheduler", ["cosine", "poly"])
def test_a_falling_rate_begins_full_after_the_warm_up_and_is_over_with_the_last_epoch(
    scheduler: str, warm: int
) -> None:
    found = rates(scheduler=scheduler, warmup_epochs=warm)
    assert found[:warm] == pytest.approx([0.1, 0.4, 0.7][:warm])
    assert found[warm] == 1.0
    assert found[warm:] == sorted(found[warm:], reverse=True)
    longer = Hyperparameters(
        scheduler=scheduler, warmup_epochs=warm, max_epochs=10
    )  # the epoch after the last
    assert factor(longer, 11) == pytest.approx(0.0, abs=1e-9)
    assert 0 < found[-1] < 0.2


def test_steps_and_milestones_fall_after_their_epochs() -> None:
    assert rates(scheduler="step", step_size=4, gamma=0.5) == [1] * 4 + [0.5] * 4 + [0.25] * 2
    assert rates(scheduler="multistep", milestones=(2, 7), gamma=0.5) == [1] * 2 + [0.5] * 5 + [0.25] * 3
    assert rates(scheduler="multistep", step_size=3, gamma=0.5) == [1] * 3 + [0.5] * 3 + [0.25] * 4
    assert rates(scheduler="none") == [1] * 10


def test_a_warm_up_that_is_too_long_still_ends_in_the_full_rate() -> None:
    found = rates(warmup_epochs=50, max_epochs=4)
    assert found == pytest.approx([0.1, 0.4, 0.7, 1.0])
    assert rates(warmup_epochs=5, max_epochs=1) == [1.0]


def test_poly_falls_by_its_power() -> None:
    assert rates(scheduler="poly", poly_power=2.0, max_epochs=4) == [1.0, 0.5625, 0.25, 0.0625]


def test_each_epoch_shows_each_example_once_in_an_order_of_its_own() -> None:
    first, second = (order(None, 20, seed=3, epoch=epoch, sampling="shuffle") for epoch in (1, 2))
    assert sorted(key.index for key in first) == list(range(20))
    assert [key.index for key in first] != [key.index for key in second]
    assert first == order(None, 20, seed=3, epoch=1, sampling="shuffle")
    assert first != order(None, 20, seed=4, epoch=1, sampling="shuffle")


def test_balanced_sampling_draws_each_class_equally_often_and_each_showing_is_another() -> None:
    labels = [0] * 27 + [1] * 2 + [2]
    keys = order(labels, 30, seed=0, epoch=1, sampling="balanced")
    assert Counter(labels[key.index] for key in keys) == {0: 10, 1: 10, 2: 10}
    assert len(set(keys)) == 30
    assert len({seed_of(0, key) for key in keys}) == 30
    only_one = [key for key in keys if labels[key.index] == 2]
    assert sorted(key.repeat for key in only_one) == list(range(10))


def test_a_single_example_that_is_left_over_joins_the_batch_before_it() -> None:
    keys = [Key(1, index) for index in range(9)]
    assert [len(batch) for batch in batched(keys, 4)] == [4, 5]
    assert [len(batch) for batch in batched(keys, 5)] == [5, 4]
    assert [len(batch) for batch in batched(keys, 1)] == [1] * 9
    assert [len(batch) for batch in batched(keys[:1], 4)] == [1]
    assert [key for batch in batched(keys, 4) for key in batch] == keys


def test_accuracy_is_accuracy_and_macro_recall_is_macro_recall() -> None:
    metrics = ClassMetrics(2)
    logits = torch.tensor([[1.0, 0.0]]).repeat(24, 1)
    metrics.update(logits[:10], torch.zeros(10, dtype=torch.int64))
    metrics.update(logits[10:], torch.tensor([0] * 8 + [1] * 6))
    values = metrics.values()
    assert values["accuracy"] == 0.75
    assert values["recall_macro"] == values["recall"] == 0.5
    assert values["precision_macro"] == 0.375
    assert values["f1_macro"] == pytest.approx(3 / 7)
    metrics.reset()
    assert metrics.values()["accuracy"] == 0.0


def test_metrics_are_those_of_scikit_learn_and_as_exact() -> None:
    rng = torch.Generator().manual_seed(5)
    batches = BATCHES_TOGETHER + 3
    logits = torch.randn(batches, 7, 7, generator=rng)
    targets = torch.randint(0, 5, (batches, 7), generator=rng)
    metrics = ClassMetrics(7)
    for output, target in zip(logits, targets, strict=True):
        metrics.update(output, target)
    values = metrics.values()
    guesses, truth = logits.argmax(2).flatten(), targets.flatten()
    macro = {"average": "macro", "zero_division": 0}
    expected = theirs.precision_recall_fscore_support(truth, guesses, **macro)
    assert values["accuracy"] == theirs.accuracy_score(truth, guesses)
    for name, value in zip(("precision", "recall", "f1"), expected, strict=False):
        assert values[f"{name}_macro"] == values[name] == pytest.approx(value, rel=1e-12)


def test_metrics_go_on_from_a_checkpoint_in_the_middle_of_an_epoch() -> None:
    rng = torch.Generator().manual_seed(6)
    logits, targets = torch.randn(40, 3, generator=rng), torch.randint(0, 3, (40,), generator=rng)
    whole, first, second = ClassMetrics(3), ClassMetrics(3), ClassMetrics(3)
    whole.update(logits, targets)
    first.update(logits[:25], targets[:25])
    second.load_state_dict(first.state_dict())
    assert second.values() == first.values()
    second.update(logits[25:], targets[25:])
    assert second.values() == whole.values() != first.values()


def test_an_accuracy_has_wilsons_interval() -> None:
    metrics = ClassMetrics(2)
    metrics.update(torch.tensor([[1.0, 0.0]]).repeat(10, 1), torch.tensor([0] * 9 + [1]))
    sure = metrics.intervals()
    assert sure["accuracy_low"] == pytest.approx(0.5958, abs=1e-4)
    assert sure["accuracy_high"] == pytest.approx(0.9821, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_the_optimizer_is_the_one_that_was_chosen(name: str, kind: type) -> None:
    wanted = spec(
        optimizer=name, learning_rate=0.4, weight_decay=0.03, momentum=0.7, model={"backbone_lr_scale": 0.25}
    )
    task = Classification(("a", "b"))
    network = task.network(build_backbone(facts_of("small_cnn"), (8, 8)), 64, wanted)
    optimizer = make_optimizer(network, wanted)
    assert type(optimizer) is kind
    by_parameter = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert len(by_parameter) == len(list(network.parameters()))
    assert {by_parameter[id(p)]["lr"] for p in network.head.parameters()} == {0.4}
    assert {by_parameter[id(p)]["lr"] for p in network.backbone.parameters()} == {0.1}
    for parameter in network.parameters():
        assert by_parameter[id(parameter)]["weight_decay"] == (0.03 if parameter.ndim > 1 else 0.0)
    if name == "sgd":
        assert {group["momentum"] for group in optimizer.param_groups} == {0.7}


def test_dropout_of_the_hyperparameters_wins_over_the_models() -> None:
    task = Classification(("a", "b"))
    for chosen, expected in (({}, 0.6), ({"dropout": 0.1}, 0.1), ({"dropout": 0.0}, 0.0)):
        network = task.network(nn.Identity(), 4, spec(model={"dropout": 0.6}, **chosen))
        assert network.head[0].p == expected
    with pytest.raises(UnknownModel, match="no head 'detection'"):
        task.network(nn.Identity(), 4, spec(model={"head": "detection"}))


def test_the_average_follows_its_formula_and_is_swapped_in_and_out() -> None:
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(0.0)
    average = Average(network, 0.9)
    expected = 0.0
    for step in range(1, 101):
        network.weight.data.fill_(float(step))
        average.update(network)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with average.in_place(network):
        assert network.weight.item() == pytest.approx(expected, rel=1e-5)
    assert network.weight.item() == 100.0


def test_mixing_makes_shares_of_two_classes() -> None:
    task = Classification(("a", "b", "c"))
    pixels, targets = torch.rand(6, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
    assert task.mixer(spec()) is None
    for chosen in ({"mixup": 1.0}, {"cutmix": 1.0}):
        mixer = task.mixer(spec(**chosen))
        assert mixer is not None
        torch.manual_seed(1)
        mixed, shares = mixer(pixels, targets)
        assert shares.shape == (6, 3)
        assert torch.allclose(shares.sum(1), torch.ones(6))
        assert not torch.equal(mixed, pixels)
        pasted = [any(torch.equal(mixed[0, :, y, x], pixels[0, :, y, x]) for y in range(8)) for x in range(8)]
        assert any(pasted) == ("cutmix" in chosen)  # cutmix leaves some pixels as they were, mixup none
    both = task.mixer(spec(mixup=1.0, cutmix=1.0))
    assert both is not None
    kinds = set()
    for seed in range(20):
        torch.manual_seed(seed)
        mixed, _ = both(pixels, targets)
        kinds.add(bool((mixed == pixels).any()))
    assert kinds == {True, False}


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_a_backbone_is_as_its_facts_say(name: str) -> None:
    facts = BACKBONES[name]
    side = max(facts.least_px, 2 * facts.multiple_px, 32 if facts.multiple_px == 1 else 0)
    network = build_backbone(facts, (side, side)).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, side, side)).shape == (1, facts.features)
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert millions == pytest.approx(facts.parameters_m, abs=0.25 if "dinov2" in name else 0.1)


def test_pictures_that_a_backbone_cannot_look_at_are_refused_in_words() -> None:
    with pytest.raises(BadAugmentation, match="it needs 32 pixels at least"):
        check_side(facts_of("resnet18"), (16, 16))
    with pytest.raises(BadAugmentation, match="pieces of 16 pixels, and 100 x 96"):
        check_side(facts_of("vit_tiny"), (96, 100))
    with pytest.raises(UnknownModel) as caught:
        facts_of("resnet19")
    assert caught.value.hint == "did you mean resnet18?"


def test_the_addresses_of_weights_are_torchvisions() -> None:
    ours = {
        facts.built_as: address_of(facts) for facts in BACKBONES.values() if facts.library == "torchvision"
    }
    assert ours == {name: models.get_model_weights(name).DEFAULT.url for name in ours}
