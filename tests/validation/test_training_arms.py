"""The controls are S2-SAM but for the direction; what a run learns from is carved out by the seed alone."""

import itertools
import math

import pytest
import torch
from training_runs import SIZE, Tiny, assert_same_run, config, tiny_images

from validation import datasets, models
from validation.datasets import load
from validation.training import CONTROLS, METHODS, run
from validation.training.config import SCHEDULES
from validation.training.data import carved
from validation.training.loop import Training


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(datasets.DATASETS, "tiny", tiny_images)
    monkeypatch.setitem(models.MODELS, "tiny", Tiny)


def begun(steps, **given):
    """Return a run after some steps."""
    training = Training(config(**{"method": "random", "sparsity": 0.8} | given), tiny_images())
    training._forward_cost = 0.0
    for _ in range(steps):
        training._train_batch()
    return training


def perturbation(training):
    """Return y - w by parameter name, and go back to w."""
    before = {name: p.detach().clone() for name, p in training.model.named_parameters()}
    with training.optimizer.perturbed():
        moved = {name: p.detach() - before[name] for name, p in training.model.named_parameters()}
    assert all(torch.equal(p, before[name]) for name, p in training.model.named_parameters())
    return moved


def outside(training, moved):
    """Return the largest entry of a perturbation where the masks are False."""
    return max(float(moved[name][~mask].abs().max()) for name, mask in training.sparse.masks.items())


def flat(moved):
    return torch.cat([t.flatten().double() for t in moved.values()])


# y - w has entries below 1 rounded to float32: off by 2^-24 each, d = 862 of them, so by sqrt(d) 2^-24 in length
ROUNDING = math.sqrt(862) * 2**-24


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_differs_from_s2sam_in_the_direction_alone(control):
    own, other = begun(1, optimizer="s2sam"), begun(1, optimizer=control)
    for (name, p), q in zip(own.model.named_parameters(), other.model.parameters(), strict=True):
        assert torch.equal(p, q), name  # the first step is the base's own
    a, b = (perturbation(training) for training in (own, other))
    assert float(flat(a).norm()) == pytest.approx(own.config.rho, abs=2 * ROUNDING)
    assert float(flat(b).norm()) == pytest.approx(own.config.rho, abs=2 * ROUNDING)
    assert outside(own, a) == 0
    assert float((flat(a) - flat(b)).norm()) > 0.1 * own.config.rho


def test_random_directions_stay_in_the_support_are_fresh_each_step_and_the_seeds_own():
    training = begun(2, optimizer="random")
    first = perturbation(training)
    assert outside(training, first) == 0
    again = perturbation(begun(2, optimizer="random"))
    assert torch.equal(flat(first), flat(again))
    training._train_batch()
    others = flat(perturbation(training)), flat(perturbation(begun(2, optimizer="random", seed=1)))
    for other in others:  # Gaussian on some 250 entries: a cosine of 0.3 is 4.7 deviations of 1/sqrt(250)
        assert abs(float(other @ flat(first))) < 0.3 * training.config.rho**2


def test_unmasked_perturbs_along_the_dense_gradient_of_the_step_before():
    training = begun(0, optimizer="unmasked")
    dense = {}
    for name, p in training.model.named_parameters():  # autograd's own account, before any mask
        p.register_post_accumulate_grad_hook(lambda p, name=name: dense.update({name: p.grad.clone()}))
    for _ in range(2):
        training._train_batch()
    moved = perturbation(training)
    dense = {name: dense[name] for name in moved}  # they came last layer first
    assert outside(training, moved) > 0.01 * training.config.rho
    expected = flat(dense) * training.config.rho / flat(dense).norm()
    # the float32 norm and factor round once each, entries of length rho in all, beside the rounding of y
    assert float((flat(moved) - expected).norm()) < 2 * ROUNDING + 2**-22 * training.config.rho
    for name, mask in training.sparse.masks.items():
        assert not training.model.get_parameter(name)[~mask].any()  # w itself is masked


@pytest.mark.parametrize(("control", "method"), list(itertools.product(CONTROLS, ("rigl", "lt", "chase"))))
def test_a_control_resumes_bit_for_bit(control, method, tmp_path):
    c = config(method=method, optimizer=control, epochs=2, sparsity=0.8)
    run(c, tmp_path / "whole")
    stops = iter((4, 5, 10))
    stop = [next(stops)]
    for _ in range(3):
        count = itertools.count(1)

        def tick(*where, count=count):
            return next(count) == stop[0]

        try:
            run(c, tmp_path / "cut", tick, resume=True)
        except KeyboardInterrupt:
            stop[0] = next(stops, 10**9)
    run(c, tmp_path / "cut", resume=True)
    assert_same_run(tmp_path / "whole" / c.name, tmp_path / "cut" / c.name)


def test_a_control_runs_with_every_method_and_an_unmasked_pass_costs_a_dense_one():
    costs = {}
    for method, control in itertools.product(METHODS, CONTROLS):
        training = Training(config(method=method, optimizer=control, epochs=1, sparsity=0.8), tiny_images())
        training.prepare()
        training.train(lambda: None, None)
        assert math.isfinite(training.rows[-1]["train_loss"])
        costs[method, control] = training.rows[-1]["cost"]
    assert costs["random", "unmasked"] == 3 * training.flops.dense * SIZE
    assert costs["random", "random"] < costs["random", "unmasked"] == costs["dense", "random"]


def test_evaluations_are_counted():
    for optimizer, each in (("sgd", 1), ("sam", 2), ("s2sam", 1), ("random", 1), ("unmasked", 1)):
        training = Training(config(method="dense", optimizer=optimizer, epochs=2), tiny_images())
        training.train(lambda: None, None)
        assert [row["evaluations"] for row in training.rows] == [3 * each, 6 * each]


@pytest.mark.parametrize("noise", [0.0, 0.2, 0.4])
def test_labels_are_wrong_in_exact_number_symmetrically_and_by_seed(noise):
    data = load("digits")
    c = config(dataset="digits", label_noise=noise, validation=0.2, train_size=1000)
    parts = carved(data, c)
    clean = carved(data, config(dataset="digits", validation=0.2, train_size=1000))
    assert torch.equal(parts.train[0], clean.train[0])
    wrong = parts.train[1] != clean.train[1]
    assert int(wrong.sum()) == 1000 * noise
    assert torch.equal(parts.validation[1], clean.validation[1])
    assert torch.equal(parts.test[1], data.y_test)
    if noise == 0.4:  # 400 shifts over 9 classes: chi-squared of 8 degrees; 31.8 is its 1e-4 quantile
        shift = (parts.train[1] - clean.train[1])[wrong] % 10
        counts = torch.bincount(shift, minlength=10)[1:].double()
        assert float(((counts - 400 / 9) ** 2 / (400 / 9)).sum()) < 31.8
    other = carved(data, config(dataset="digits", label_noise=noise, validation=0.2, train_size=1000, seed=1))
    assert not torch.equal(other.train[0], parts.train[0])
    arm = carved(data, config(dataset="digits", label_noise=noise, validation=0.2, train_size=1000, optimizer="sgd"))
    assert torch.equal(arm.train[1], parts.train[1])
    assert torch.equal(load("digits").y_train, data.y_train)  # the data set itself keeps its labels


def test_parts_are_disjoint_and_complete():
    data = load("digits")
    parts = carved(data, config(dataset="digits", validation=0.2))
    assert len(parts.validation[1]) == round(0.2 * 1437)
    rows = torch.cat([parts.train[0], parts.validation[0]]).flatten(1)
    assert torch.equal(rows.unique(dim=0), data.x_train.flatten(1).unique(dim=0))
    assert len(rows) == len(data.x_train)
    whole = carved(data, config(dataset="digits"))
    assert whole.validation is None
    assert whole.train[0] is data.x_train
    with pytest.raises(ValueError, match="train_size must be <= 1150, the images left to train on, got 1151"):
        carved(data, config(dataset="digits", validation=0.2, train_size=1151))


def test_rows_measure_the_validation_part_and_training_does_not_see_it():
    training = Training(config(method="dense", validation=0.25, epochs=1, batch=12), tiny_images())
    training.train(lambda: None, None)
    x, y = carved(tiny_images(), training.config).validation
    with torch.no_grad():
        right = training.model.eval()(x).argmax(1) == y
    assert training.rows[0]["validation_accuracy"] == float(right.double().mean())
    assert len(training.x) == 36
    assert begun(0).held_out == []


def test_schedules_begin_at_1_and_are_what_they_are_called():
    assert all(schedule(0.0) == 1 for schedule in SCHEDULES.values())
    assert [SCHEDULES["steps"](t / 8) for t in range(8)] == pytest.approx([1] * 4 + [0.1] * 2 + [0.01] * 2, rel=1e-15)
    assert SCHEDULES["cosine"](0.5) == pytest.approx(0.5, abs=1e-16)
    assert SCHEDULES["constant"](0.9) == 1
    rates = []
    training = begun(0, schedule="steps", lr=0.2, epochs=2)
    for _ in range(6):
        training._train_batch()
        rates.append(training.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.2, 0.2, 0.2, 0.02, 0.02, 0.002], rel=1e-15)
