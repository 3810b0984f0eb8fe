"""The benches: what they count is counted, what they time is timed; small sizes, no statement about speed."""

import json
import statistics

import pytest
import torch
from typer.testing import CliRunner

from validation import bench
from validation.bench import contenders, throughput, timing
from validation.bench.traffic import CHUNK, Traffic, traffic
from validation.cli import app


def run(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def near(a, b, slack):
    return abs(a - b) <= slack


def test_traffic_of_known_operations():
    x, y = torch.ones(2**20), torch.ones(2**20)
    size, edge = 4 * 2**20, 4 * CHUNK  # a chunk more at each end of each tensor
    assert near(traffic(lambda: y.add_(x)).moved, 3 * size, edge)  # two read, one written
    assert near(traffic(lambda: y.copy_(x)).moved, 2 * size, edge)
    assert near(traffic(lambda: torch.add(x, x, out=y)).moved, 2 * size, edge)
    assert near(traffic(lambda: x + y).moved, 3 * size, edge)
    assert near(traffic(lambda: (y.add_(x), y.add_(x))).moved, 6 * size, 2 * edge)  # 4 MiB do not stay in a cache of 4
    small = [t[:1000] for t in (x, y)]
    assert traffic(lambda: [small[1].add_(small[0]) for _ in range(9)]).moved <= 3 * 4000 + edge  # but these do


def test_new_memory_is_counted_while_it_lives():
    x = torch.ones(1000)
    with Traffic() as watch:
        a = x + 1
        b = a + a
        assert watch.alive == 8000
        del a
        c = b.view(10, 100)
        assert watch.alive == 4000
        del b, c
        assert watch.alive == 0
    assert watch.peak == 8000


def test_the_update_is_at_the_floor_of_bytes_and_the_naive_one_is_not():
    """13 sizes: SGD's 5, the swap's 4, going back and keeping the direction 4; 2 more where these two are apart.

    On top come scratch, under 0.2 of 3 million entries in each pass, and chunks at the edges of tensors. Nothing is
    said of what fits into the cache, nor of operations that torch does not see.
    """
    result = bench.optimizer(sizes=(20_800, 3_000_000), repetitions=1)
    assert not any("moved, sizes" in row for row in result["rows"] if row["parameters"] == 20_800)
    rows = {row["optimizer"]: row for row in result["rows"] if row["parameters"] == 3_000_000}
    assert (result["fused"] == "compiled") == (contenders.FUSED in rows)
    assert "moved, sizes" not in rows.get(contenders.FUSED, {})
    assert near(rows["SGD, fused"]["moved, sizes"], 5, 0.05)
    assert 13 <= rows["S2SAM"]["moved, sizes"] < 13.7
    assert 15 <= rows["S2SAM, with block left first"]["moved, sizes"] < 16
    assert rows["naive S2-SAM"]["moved, sizes"] > 17
    assert all(row["ms"] > 0 for row in rows.values())
    assert rows["SGD, fused"]["times SGD"] == 1


def test_the_state_is_one_buffer_and_the_step_needs_none():
    """Scratch is three blocks, 2 MiB: 0.26 of 2 million entries."""
    rows = {row["optimizer"]: row for row in bench.memory()["rows"]}
    assert near(rows["S2SAM"]["more than SGD"], 1, 1e-3)
    assert rows["S2SAM"]["for a while, sizes"] <= 0.27
    assert rows["SAM"]["more than SGD"] == 0
    assert near(rows["naive S2-SAM"]["more than SGD"], 3, 1e-3)


def test_gradients_are_counted_and_ratios_are_kept():
    tiny = {"images": lambda: throughput.images(4, 8), "text": lambda: throughput.text(2, 8, width=16, blocks=1)}
    result = bench.training(repetitions=3, networks=tiny)
    counted = {(row["network"], row["sparsity"], row["method"]): row["gradients a step"] for row in result["rows"]}
    expected = {"SGD": 1, "S2SAM": 1, "SAM": 2} | ({contenders.FUSED: 1} if result["fused"] == "compiled" else {})
    assert counted == {(n, s, m): expected[m] for n in tiny for s in (0.0, 0.9) for m in expected}
    assert all(len(row["ratios"]) == 3 for row in result["rows"])
    assert all(row["low"] <= row["throughput"] <= row["high"] for row in result["rows"])


def test_peers_are_measured_or_said_to_be_missing(monkeypatch):
    rows = {row["optimizer"]: row for row in bench.peers(size=3000, repetitions=2)["rows"]}
    assert (rows["S2SAM"]["gradients a step"], rows["SAM"]["gradients a step"]) == (1, 2)
    monkeypatch.setattr(contenders, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    rows = {row["optimizer"]: row for row in bench.peers(size=3000, repetitions=2)["rows"]}
    assert rows["pytorch_optimizer.SAM"]["note"].startswith("not installed; pip install")
    notes = [row.get("note") for row in bench.memory(size=3000)["rows"]]
    assert notes[-1] == rows["pytorch_optimizer.LookSAM"]["note"]


def test_the_naive_design_is_the_method():
    """So designs are compared: the path is the same, within float32 roundings of 3 steps on entries below 8."""
    mine, theirs = ([torch.nn.Parameter(torch.arange(1.0, 5.0))] for _ in range(2))
    steps = contenders.OURS["S2SAM"](mine), contenders.naive(theirs)
    for ps, step in zip((mine, theirs), steps, strict=True):

        def closure(ps=ps):
            ps[0].grad = None
            ps[0].pow(3).sum().backward()

        for _ in range(3):
            step(closure)
    assert torch.allclose(mine[0], theirs[0], rtol=0, atol=3 * 64 * 8 * 2.0**-24)
    assert not torch.equal(mine[0], torch.arange(1.0, 5.0))


def test_the_interval_of_a_median_has_its_level():
    for n in (3, 6, 9, 25):
        draws = torch.randn(2000, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64).tolist()
        spans = [timing.median_interval(values) for values in draws]
        hits = sum(low <= 0 <= high for low, _, high in spans) / len(draws)
        best = 1 - 2 * 0.5**n
        assert hits >= min(0.95, best) - 3 * (0.05 * 0.95 / 2000) ** 0.5 - 3 * (best * (1 - best) / 2000) ** 0.5
        assert all(middle == statistics.median(v) for (_, middle, _), v in zip(spans, draws, strict=True))
    assert timing.median_interval([1.0]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_prints_a_table_or_json(monkeypatch, as_json):
    monkeypatch.setitem(bench.BENCHES, "peers", lambda: bench.peers(size=3000, repetitions=1))
    done = run("peers", *(["--json"] if as_json else []))
    assert done.exit_code == 0, done.output
    if as_json:
        assert {row["optimizer"] for row in json.loads(done.output)["rows"]} >= {"SGD", "S2SAM", "SAM", "naive S2-SAM"}
    assert "threads" in done.output
    assert "naive S2-SAM" in done.output
