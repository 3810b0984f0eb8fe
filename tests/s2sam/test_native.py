"""The compiled passes: the arithmetic of the rules bit for bit, on any number of threads, and machines without."""

import copy
import math
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from optim_nets import network, on_threads, through_a_file, train
from optim_support import bits

from s2sam import S2SAM, SAM, blocks, native, rules

SIZES = (0, 1, 15, 16, 17, 4095, 4096, 4097, 16 * 4096 + 1, 40 * 4096 + 9)
SOURCE = native._SOURCE.read_text()
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
pytestmark = needs_compiler


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def apart(compiled, monkeypatch):
    """Compiled once for this file, in a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(compiled))
    native.library.cache_clear()
    yield
    native.library.cache_clear()


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def drawn(exponent=0):
    generator = torch.Generator().manual_seed(exponent)
    ws = [torch.randn(n, generator=generator) for n in SIZES]
    return ws, [torch.randn(n, generator=generator) * 2.0**exponent for n in SIZES]


def same(ones, others):
    """Whether two lists have the same bits; a bool, as pytest takes minutes to tell long lists apart."""
    return bits(ones) == bits(others)


def check_passes(exponent):
    """Each pass, by numpy in float32: what C does with every product and sum rounded."""
    ws, gs = drawn(exponent)
    norm = rules.global_norm(gs)
    s, (f, *_) = rules.scales(gs, 0.5, norm)
    ps, ds = [w.clone() for w in ws], [torch.zeros_like(w) for w in ws]
    kept = native.keep([(p, d, g, False) for p, d, g in zip(ps, ds, gs, strict=True)])
    assert same(ds, gs)
    assert same(ps, ws)
    # Every sum has positive terms: 256 + 4 in a row, and the rows', one rounding each; sqrt halves their sum, adds one.
    assert abs(kept.item() / norm.item() - 1) <= (260 + 50) * 2.0**-53
    assert same([kept], [native.norm(ds)])
    scales = [(s, f) if i % 3 else None for i in range(len(ws))]
    native.lift(list(zip(ps, ds, strict=True)), scales)
    ys = []
    for w, g, scale in zip(ws, gs, scales, strict=True):
        w, e = w.numpy(), g.numpy() if scale is None else g.numpy() * np.float32(s) * np.float32(f)
        ys.append(w + ((w + e) - w))
    assert same(ps, map(torch.from_numpy, ys))
    assert same(ds, ws)
    again, other = [p.clone() for p in ps], [torch.full_like(d, 7.0) for d in ds]
    native.lower(list(zip(again, ds, strict=True)))
    assert same(again, ws)
    assert same(ds, [torch.from_numpy(y - w.numpy()) for y, w in zip(ys, ws, strict=True)])
    native.lift(list(zip(again, ds, strict=True)), [None] * len(ws))
    assert same(again, ps)  # a retry
    odd, step = torch.tensor([float.fromhex("-0x1.bd6c6ap+0")]), torch.tensor([float.fromhex("0x1.deb636p+1")])
    native.lift([(odd, step)], [None])  # w + p = 2, where w + fl(2 - w) is not
    first = [odd.clone()]
    native.lower([(odd, step)])
    native.lift([(odd, step)], [None])
    assert same([odd], first)
    native.keep([(p, d, o, i != 1) for i, (p, d, o) in enumerate(zip(again, ds, other, strict=True))])
    assert same(again, [ps[i] if i == 1 else w for i, w in enumerate(ws)])
    assert same(ds, other)


@pytest.mark.parametrize("exponent", [0, -83, -140, 83, 120])
def test_the_passes_are_the_rules(exponent, threads):
    check_passes(exponent)


MUTANTS = {
    "power of two": ("d[i] * s * f", "d[i] * f"),
    "retry": ("w[i] += e;", "w[i] = y;"),
    "swap": ("d[i] = w[i];\n        w[i] += e", "w[i] += e"),
    "e": ("float e = w[i] - d[i]", "float e = d[i] - w[i]"),
    "left over": ("for (size_t k = 0; i < m; i++, k++)", "for (size_t k = 0; i < m - 1; i++, k++)"),
    "order of norm": ("if (w[t])\n                copy_row(w[t] + at, d[t] + at, m);", ""),
    "a row less": ("(((n) + ROW - 1) / ROW)", "((n) / ROW)"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_other_loops_are_caught(name, monkeypatch, tmp_path):
    old, new = MUTANTS[name]
    assert SOURCE.count(old) == 1
    (tmp_path / "passes.c").write_text(SOURCE.replace(old, new))
    monkeypatch.setattr(native, "_SOURCE", tmp_path / "passes.c")
    native.library.cache_clear()
    with pytest.raises(AssertionError):
        check_passes(-83)


def trained(steps, fused=True, wrap=S2SAM, opt_state=None, model_state=None, start=0, **options):
    model, loss = network()
    opt = wrap(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), rho=0.3, fused=fused, **options)
    if opt_state is not None:
        model.load_state_dict(model_state)
        opt.load_state_dict(opt_state)
    if wrap is S2SAM:
        train(opt, loss, steps, start=start)
    else:
        for t in range(start, start + steps):
            opt.step(lambda t=t: (opt.zero_grad(), loss(t).backward()))
    return model, opt


@pytest.mark.parametrize("wrap", [S2SAM, SAM])
@pytest.mark.parametrize("options", [{}, {"adaptive": True}])
def test_training_is_that_without(wrap, options):
    """Roundings apart: 12 steps of a smooth network, fewer than 64 roundings a step on entries below 4."""
    (fast, _), (plain, _) = (trained(12, fused, wrap, **options) for fused in (True, False))
    # An error grows by at most (1 + lr L)^12 with L near 10 for this network, 2^12.
    slack = 12 * 64 * 4 * 2.0**-24 * 2**12
    off = max((a - b).abs().max().item() for a, b in zip(fast.parameters(), plain.parameters(), strict=True))
    assert off <= slack
    base, _ = trained(12, False, wrap)
    assert not options or bits(base.parameters()) != bits(plain.parameters())


def test_what_is_resumed_goes_on_bit_for_bit(threads):
    model, opt = trained(7)
    whole, _ = trained(12)
    saved = {"opt_state": opt.state_dict(), "model_state": model.state_dict()}
    resumed, _ = trained(5, start=7, **through_a_file(saved))
    assert bits(resumed.parameters()) == bits(whole.parameters())
    other, plain = trained(5, start=7, fused=False, **through_a_file(saved))  # the choice is no part of what is saved
    assert not plain.fused
    assert max((a - b).abs().max() for a, b in zip(other.parameters(), whole.parameters(), strict=True)) < 1e-3


def test_the_number_of_threads_changes_no_bit():
    assert len(on_threads(fused=True)) == 1


def test_copies_keep_the_choice():
    _, opt = trained(2)
    for copied in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
        assert copied.fused
        assert copied._passes is native
    state = opt.__getstate__()
    del state["fused"]  # one from before there was a choice
    older = S2SAM.__new__(S2SAM)
    older.__setstate__(state)
    assert older._passes is blocks


def test_autograd_is_told_of_what_it_did_not_see():
    model, opt = trained(2)
    x = torch.ones(10, 4)
    with opt.perturbed():
        value = model(x).square().sum()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()
    opt.perturb()
    weight = next(model.parameters())
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    before = weight._version, opt.state[weight]["ascent"]._version
    opt._take_direction()
    assert weight._version > before[0]
    assert opt.state[weight]["ascent"]._version > before[1]


def test_a_gradient_that_is_not_finite_leaves_a_zero_direction():
    p, q = (torch.nn.Parameter(torch.ones(33)) for _ in range(2))
    opt = S2SAM(torch.optim.SGD([p, q], lr=0.0), rho=0.5, fused=True)
    for value in (1.0, math.nan, 1.0, math.inf):
        p.grad, q.grad = torch.ones(33), torch.full((33,), value)
        opt.perturb()
        opt.step()
    assert opt.skipped_perturbations == 2
    assert all((opt.direction(x) == 0).all() for x in (p, q))
    assert np.array_equal(p.detach().numpy(), np.ones(33))


def test_what_no_longer_fits_is_done_all_the_same():
    """Gradients of other layouts are copied; a model that was cast goes through torch's operations."""
    p = torch.nn.Parameter(torch.ones(6, 6))
    opt = S2SAM(torch.optim.SGD([p], lr=0.0), rho=0.5, fused=True)
    for gradient in (torch.arange(36.0).view(6, 6).t(), torch.tensor(1.0).expand(6, 6)):
        p.grad = gradient
        opt.step()
        assert torch.equal(opt.direction(p), gradient)
    p.data = p.data.double()
    p.grad = torch.ones(6, 6, dtype=torch.float64)
    opt.perturb()
    assert torch.allclose(p.detach(), torch.full((6, 6), 1 + 0.5 / 6, dtype=torch.float64), atol=1e-6)
    opt.restore()
    assert (p == 1).all()


class Tagged(torch.nn.Parameter):
    pass


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        (torch.ones(2, dtype=torch.float64), "got Parameter of torch.float64 on cpu; drop it"),
        (torch.ones(2, dtype=torch.bfloat16), "got Parameter of torch.bfloat16 on cpu; drop it"),
        (torch.ones(2, device="meta"), "got Parameter of torch.float32 on meta; drop it"),
        (torch.ones(2, 3).t(), "got Parameter of torch.float32 on cpu, not contiguous; drop it"),
        (Tagged(torch.ones(2)), "got Tagged of torch.float32 on cpu; drop it"),
    ],
)
@pytest.mark.parametrize("wrap", [S2SAM, SAM])
def test_other_parameters_are_refused(parameter, message, wrap):
    p = parameter if isinstance(parameter, Tagged) else torch.nn.Parameter(parameter)
    whole = "fused must have plain contiguous float32 parameters on the CPU, " + message
    base = torch.optim.SGD([p], lr=0.1)
    with pytest.raises(ValueError, match=re.escape(whole)):
        wrap(base, fused=True)
    assert "rho" not in base.defaults | base.param_groups[0]
    opt = wrap(torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1), fused=True)
    with pytest.raises(ValueError, match=re.escape(whole)):
        opt.add_param_group({"params": [p]})
    assert len(opt.param_groups) == 1
    with pytest.raises(TypeError, match="fused must be True or False, got 'yes'"):
        wrap(base, fused="yes")


@pytest.mark.parametrize(
    ("compiler", "message"),
    [
        ("no-such-compiler -O1", "got no 'no-such-compiler'; install one, set CC, or drop fused"),
        ("false", "a C compiler that works, got 'exit status 1'; mend it, or drop fused"),
    ],
)
def test_without_a_compiler_it_says_so_in_one_line(compiler, message, monkeypatch):
    monkeypatch.setenv("CC", compiler)
    p = torch.nn.Parameter(torch.ones(2))
    base = torch.optim.SGD([p], lr=0.1)
    with pytest.raises(RuntimeError) as caught:
        S2SAM(base, fused=True)
    assert str(caught.value).startswith("fused must have ")
    assert str(caught.value).endswith(message)
    assert "\n" not in str(caught.value)
    assert "rho" not in base.defaults


def test_without_openmp_or_a_cache_it_has_one_thread_and_the_same_bits(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(native, "_TRIED", ((),))
    check_passes(-83)
    assert (tmp_path / "file").read_text() == "no folder"


def test_two_processes_may_compile_at_once(tmp_path):
    code = "import torch; from s2sam.native import norm; print(norm([torch.full((4,), 2.0)]).item())"
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in running] == ["4.0", "4.0"]
    (left,) = Path(tmp_path / "s2sam").iterdir()
    assert left.suffix == ".so"


def test_a_traced_step_is_torchs_own(monkeypatch):
    _, opt = trained(2)
    assert opt._passes is native
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert opt._passes is blocks


def test_the_sum_of_many_rows_does_not_depend_on_threads():
    """300,000 rows are what 1.2 billion entries have; torch alone would share them out."""
    rows = torch.rand(300_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()

    def check(add):
        seen = set()
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            seen.add(add(rows).item())
        assert len(seen) == 1

    try:
        check(blocks.total)
        with pytest.raises(AssertionError):
            check(torch.sum)
    finally:
        torch.set_num_threads(before)
    assert blocks.total(rows).item() == pytest.approx(math.fsum(rows.tolist()), rel=300_000 * 2.0**-53)
