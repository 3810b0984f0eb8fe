"""What rounding to half types leaves of a perturbation: the experiment measures it, and its figure shows it."""

import pytest
import torch

from validation import figures
from validation.cells import EXPERIMENTS
from validation.experiments.low_precision import surviving, trained


@pytest.fixture(scope="module")
def rows():
    return list(EXPERIMENTS["low_precision"](widths=[16, 64], rho=[0.05, 0.005], count=4, seed=0))


def of(rows, rho, name, rounding):
    (row,) = [r for r in rows if (r["at"]["rho"], r["format"], r["rounding"]) == (rho, name, rounding)]
    return row


def test_float32_keeps_it_all_and_half_types_lose_more_the_larger_the_network(rows):
    assert len(rows) == 2 * 5
    for rho in (0.05, 0.005):
        full = of(rows, rho, "float32", "nearest")
        # Each of fewer than 2^14 entries of y, below 1, is off by half an ulp twice: 2^7 2^-24 against rho.
        assert all(abs(value - 1) <= 2.0**-16 / rho for value in full["y"] + full["along"])
    kept = [of(rows, 0.005, name, "nearest")["along"] for name in ("bfloat16", "float16", "float32")]
    assert kept[0][1] < kept[0][0] < 0.8 < kept[1][1] < kept[2][1]


def test_stochastic_rounding_keeps_the_component_at_the_price_of_the_norm(rows):
    for name in ("float16", "bfloat16"):
        nearest, kept = of(rows, 0.005, name, "nearest"), of(rows, 0.005, name, "stochastic")
        for k in (0, 1):
            # <y - w, p>/rho^2 has mean 1 and, with an error of y of norm (y - w)' each, a standard deviation below
            # max|p| ||y - w||/rho^2 <= ||y - w||/rho; over many entries far below: 0.2 is what is asked for here.
            assert abs(kept["along"][k] - 1) < 0.2
            assert kept["y"][k] > nearest["y"][k]


def test_the_measure_is_that_of_its_definition():
    weights, gradients = [torch.tensor([1.0, 1.0])], [torch.tensor([3.0, 4.0])]
    # p = (0.6, 0.8) 2^-7: the first entry is 0.6 of bfloat16's spacing above 1, both round up to one spacing.
    norm, along = surviving(weights, gradients, torch.bfloat16, 2.0**-7, None)
    assert norm == pytest.approx(2**0.5, rel=1e-12)
    assert along == pytest.approx(1.4, rel=1e-12)
    # Of half that length, 0.3 rounds down and 0.4 too: nothing is left.
    assert surviving(weights, gradients, torch.bfloat16, 2.0**-8, None) == (0.0, 0.0)
    assert surviving(weights, gradients, torch.float32, 2.0**-8, None) == pytest.approx((1.0, 1.0), rel=2.0**-14)


def test_networks_are_the_same_for_the_same_seed():
    (w, g), (same, again) = trained(8, 0.05, 2, 1), trained(8, 0.05, 2, 1)
    assert all(torch.equal(a, b) for a, b in zip(w + g, same + again, strict=True))
    assert sum(p.numel() for p in w) == 64 * 8 + 8 + 8 * 8 + 8 + 8 * 10 + 10
    assert any(p.any() for p in g)


def test_the_figure_is_drawn_from_the_rows(rows, tmp_path):
    drawn = figures.draw(rows, tmp_path / "a")["low-precision"].read_bytes()
    assert drawn == figures.draw(rows, tmp_path / "b")["low-precision"].read_bytes()
    changed = [{**r, "along": [x / 2 for x in r["along"]]} for r in rows]
    assert figures.draw(changed, tmp_path / "c")["low-precision"].read_bytes() != drawn
    assert "low-precision" not in figures.draw([{"claim": "A1"}], tmp_path / "d")
