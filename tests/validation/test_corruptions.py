"""Corruptions: in range, deterministic, worse with severity, blind to what was trained; mCE against its definition."""

import numpy as np
import pytest
import torch

from validation import corruptions
from validation.corruptions import CORRUPTIONS, SEVERITIES, corrupted, mean_corruption_error
from validation.datasets import digits

IMAGES = digits()[0][:120]


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_every_kind_gets_worse_with_severity_and_stays_in_range(kind):
    before = IMAGES.clone()
    away = []
    for severity in SEVERITIES:
        found = corrupted(IMAGES, kind, severity)
        assert (found.shape, found.dtype) == (IMAGES.shape, IMAGES.dtype)
        assert 0 <= float(found.min())
        assert float(found.max()) <= 1
        away.append(float((found - IMAGES).square().mean()))
    assert away == sorted(away)
    assert away[0] > 0
    assert bool((before == IMAGES).all())
    assert bool((corrupted(IMAGES, kind, 3) == corrupted(IMAGES, kind, 3)).all())


@pytest.mark.parametrize("kind", ["gaussian noise", "shot noise", "impulse noise", "motion blur", "fog", "occlusion"])
def test_the_seed_decides_what_is_random(kind):
    assert not bool((corrupted(IMAGES, kind, 3, seed=1) == corrupted(IMAGES, kind, 3, seed=2)).all())


def test_lengths_scale_with_the_side():
    """An image blown up four times and then corrupted is the corrupted image blown up, but for interpolation."""
    large = torch.nn.functional.interpolate(IMAGES, scale_factor=4, mode="bilinear")
    for kind in ("gaussian blur", "zoom blur", "pixelate"):
        fine, coarse = corrupted(large, kind, 4), corrupted(IMAGES, kind, 4)
        back = torch.nn.functional.avg_pool2d(fine, 4)
        unlike = (back - IMAGES).flatten(), (coarse - IMAGES).flatten()
        assert float(torch.nn.functional.cosine_similarity(*unlike, dim=0)) > 0.5, kind


def test_known_values():
    """Contrast and brightness act on a pixel alone; a constant image has no contrast to lose and nothing to blur."""
    flat = torch.full((2, 1, 8, 8), 0.25)
    for kind in ("contrast", "gaussian blur", "motion blur", "zoom blur", "pixelate", "elastic"):
        # float32 rounds 1/4 exactly; sums of some ten weights that make 1 in float64 do not reach its last bit
        assert bool((corrupted(flat, kind, 5) - flat).abs().max() <= 2**-24), kind
    assert bool((corrupted(flat, "brightness", 3) == torch.tensor(0.55)).all())
    hidden = (corrupted(flat, "occlusion", 5) == 0.5).sum((1, 2, 3)).tolist()
    assert hidden == [16, 16]  # round(0.55 * 8) = 4 pixels a side
    loud = corrupted(torch.full((50, 1, 28, 28), 0.5), "impulse noise", 5)
    part = float((loud != 0.5).float().mean())
    assert abs(part - 0.23) < 6 * np.sqrt(0.23 * 0.77 / loud.numel())  # a share of n draws, six standard deviations


def test_the_corruption_error_is_the_mean_over_kinds_of_ratios_of_sums():
    errors = {"fog": [0.1, 0.3], "contrast": [0.2, 0.2]}
    reference = {"fog": [0.2, 0.2], "contrast": [0.1, 0.1]}
    assert mean_corruption_error(errors, reference) == pytest.approx(100 * (1.0 + 2.0) / 2, rel=1e-12)
    assert mean_corruption_error(reference, reference) == 100


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: corrupted(IMAGES, "snow", 1), "kind must be one of gaussian noise"),
        (lambda: corrupted(IMAGES, "fog", 6), "severity 1 to 5, got 'fog' and 6"),
        (lambda: corrupted(IMAGES * 2, "fog", 1), r"pixels must lie in \[0, 1\], got 0 to 2; undo the scaling first"),
        (lambda: mean_corruption_error({"fog": [1.0]}, {}), "errors must have the kinds .* of the reference, got"),
        (lambda: mean_corruption_error({"fog": [1.0]}, {"fog": [0.0]}), "reference must make errors, got none for fog"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_kinds_are_those_that_the_protocol_asks_for():
    assert len(CORRUPTIONS) >= 10
    assert all(list(sizes) == sorted(sizes) for _, sizes in CORRUPTIONS.values())
    assert corruptions.SEVERITIES == (1, 2, 3, 4, 5)
