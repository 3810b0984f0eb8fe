"""The passes over memory: the arithmetic of `rules` in blocks, for any type, size, layout and range."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from optim_nets import network, on_threads, train
from optim_support import bits

from s2sam import S2SAM, blocks, rules

HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
LAYOUTS = ("plain", "transposed", "channels_last", "strided", "expanded gradient", "other gradient")


# A perturbation of a few half entries may be lost in rounding, and is warned of: not what is looked at here.
pytestmark = pytest.mark.filterwarnings("ignore:perturbation must survive rounding")


@pytest.fixture(autouse=True, params=[0, 7], ids=["blocks", "lists too"])
def small_blocks(request, monkeypatch):
    """Blocks of 8 entries in rows of 4, so that a few dozen entries are several blocks, lists, rows and left-overs."""
    monkeypatch.setattr(blocks, "_BLOCK", 8)
    monkeypatch.setattr(blocks, "_ROW", 4)
    monkeypatch.setattr(blocks, "_SMALL", request.param)


def laid_out(values, shape, layout):
    """A parameter with these values, and an empty gradient beside it."""
    w, g = values.reshape(shape), torch.empty(shape, dtype=values.dtype)
    if layout == "transposed" and w.ndim > 1:
        w, g = (t.transpose(0, 1).contiguous().transpose(0, 1) for t in (w, g))
    elif layout == "channels_last" and w.ndim == 4:
        w, g = (t.to(memory_format=torch.channels_last) for t in (w, g))
    elif layout == "strided" and w.ndim:
        wide = torch.zeros(*shape[:-1], 2 * shape[-1], dtype=w.dtype)
        wide[..., ::2] = w
        w = wide[..., ::2]
    elif layout == "other gradient" and w.ndim > 1:
        g = g.transpose(0, 1).contiguous().transpose(0, 1)
    p = torch.nn.Parameter(w)
    assert p.stride() == w.stride()
    return p, g


def assert_lift_is_the_rules(ws, gs, rho):
    """y = w + ascent(g), and back.

    p and y are within a few roundings of the type (u = eps/2): the block's product may be left unrounded, |P - p| <=
    u |p|; fl(w + P), fl(y - w) and fl(w + e) round once each, by u |y|, u |y - w| <= u (|p| + u ...), u |y|. Together
    2 u |p| + 2 u |y| to first order, 1.5 eps (|p| + |y|) with room for it; a product below the normal range is off by
    a subnormal.
    """
    opt = S2SAM(torch.optim.SGD(ws, lr=0.0), rho=rho)
    for p, g in zip(ws, gs, strict=True):
        p.grad = g
    opt.step()
    before = bits(ws)
    held = [opt.state[p]["ascent"].clone() for p in ws]
    assert bits(held) == bits(g.to(p.dtype) for p, g in zip(ws, gs, strict=True))
    ascent = rules.ascent(held, rho)
    with opt.perturbed():
        for p, e in zip(ws, ascent, strict=True):
            start = opt.state[p]["ascent"]
            off = (p.detach().double() - (start.double() + e.double())).abs()
            info = torch.finfo(p.dtype)
            slack = 1.5 * info.eps * (e.double().abs() + p.detach().double().abs()) + 4 * info.tiny * info.eps
            assert bool((off <= slack).all())
        assert bits(opt.state[p]["ascent"] for p in ws) == before
    assert bits(ws) == before


SHAPES = [(), (0,), (3,), (8,), (33,), (5, 7), (2, 3, 2, 3), (0, 4)]


@given(
    seed=st.integers(0, 2**32 - 1),
    dtypes=st.lists(st.sampled_from([HALF, BRAIN, SINGLE, DOUBLE]), min_size=1, max_size=2),
    shapes=st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3),
    layout=st.sampled_from(LAYOUTS),
    exponent=st.integers(-150, 120),
    rho=st.sampled_from([1e-3, 0.5, 40.0]),
)
@example(seed=0, dtypes=[SINGLE], shapes=[(33,)], layout="plain", exponent=-148, rho=0.5)
@example(seed=1, dtypes=[SINGLE], shapes=[(5, 7)], layout="transposed", exponent=-83, rho=0.5)
@example(seed=2, dtypes=[SINGLE, DOUBLE], shapes=[(33,), (5, 7)], layout="strided", exponent=83, rho=0.5)
@example(seed=3, dtypes=[BRAIN], shapes=[(2, 3, 2, 3)], layout="channels_last", exponent=0, rho=0.5)
@example(seed=4, dtypes=[SINGLE], shapes=[(2, 3, 2, 3), ()], layout="expanded gradient", exponent=0, rho=0.5)
def test_the_blocks_are_the_rules(seed, dtypes, shapes, layout, exponent, rho):
    generator = torch.Generator().manual_seed(seed)
    ws, gs = [], []
    for i, shape in enumerate(shapes):
        dtype = dtypes[i % len(dtypes)]
        values = torch.randn(shape, generator=generator, dtype=DOUBLE)
        p, g = laid_out(values.to(dtype), shape, layout)
        scale = 2.0 ** max(min(exponent, 10), -20) if dtype is HALF else 2.0**exponent
        g.copy_(torch.randn(shape, generator=generator, dtype=DOUBLE) * scale)
        if layout == "expanded gradient":
            g = g.sum().to(dtype).expand(shape)
        ws.append(p)
        gs.append(g)
    assert_lift_is_the_rules(ws, gs, rho)


class UnscaledLift(S2SAM):
    """The power of two is forgotten in the pass."""

    def _lift(self, pairs, scales=None):
        super()._lift(pairs, [s and (torch.ones_like(s[0]), s[1]) for s in scales])


def test_a_pass_that_is_not_the_rules_is_caught(monkeypatch):
    w, g = torch.nn.Parameter(torch.ones(33)), torch.full((33,), 1e-25)
    assert_lift_is_the_rules([w], [g], 0.5)
    monkeypatch.setitem(globals(), "S2SAM", UnscaledLift)
    with pytest.raises(AssertionError):
        assert_lift_is_the_rules([w], [g], 0.5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [HALF, BRAIN, SINGLE])
def test_the_norm_of_the_pass_has_the_bits_of_the_rules(layout, dtype):
    items = []
    for i, shape in enumerate([*SHAPES, (2, 3), (2, 2), *SHAPES]):
        generator = torch.Generator().manual_seed(i)
        p, g = laid_out(torch.randn(shape, generator=generator).to(dtype), shape, layout)
        g.copy_(torch.randn(shape, generator=generator))
        items.append((p.detach(), torch.empty_like(p), g, False))
    norm = blocks.keep(items)
    assert norm > 0
    assert bits([norm]) == bits([rules.global_norm([d for _, d, *_ in items])])
    assert bits(d for _, d, *_ in items) == bits(g for *_, g, _ in items)


def paths(change, *, steps=4, dtype=SINGLE, **options):
    """The weights after training while `change(opt)` is done after each step."""
    model, loss = network(dtype=dtype)
    opt = S2SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), rho=0.3, **options)
    seen = []
    for t in range(steps):
        train(opt, loss, 1, start=t)
        model, opt, loss = change(model, opt, loss)
        seen.append(bits(model.parameters()))
    return seen


def forget(model, opt, loss):
    assert opt._norm is not None
    opt._norm = None
    return model, opt, loss


@pytest.mark.parametrize("dtype", [BRAIN, SINGLE])
def test_a_norm_that_is_remembered_changes_no_bit(dtype):
    kept = paths(lambda *all_: all_, dtype=dtype)
    assert kept == paths(forget, dtype=dtype)
    assert len(set(map(tuple, kept))) == 4


def test_one_pass_or_two_give_the_same_bits():
    """Whoever watches (hooks, a with statement that ends first) costs a pass, and no bit."""

    def run(watch, form):
        model, loss = network()
        opt = S2SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), rho=0.3)
        watch(opt)
        for t in range(4):
            if form == "outside":
                train(opt, loss, 1, start=t)
                continue
            if form == "inside":
                with opt.perturbed():
                    loss(t).backward()
                    opt.step()
            else:
                opt.step(lambda t=t: loss(t).backward())
            opt.zero_grad()
        return bits(model.parameters()) + bits(opt.direction(p) for p in model.parameters())

    watches = [lambda o: None, lambda o: o.register_step_pre_hook(lambda *_: None)]
    watches.append(lambda o: o.register_gradient_hook(lambda: None))
    seen = {tuple(run(watch, form)) for watch in watches for form in ("outside", "inside", "closure")}
    assert len(seen) == 1


def test_the_bits_do_not_depend_on_the_number_of_threads(monkeypatch):
    monkeypatch.undo()  # blocks as they ship: large enough for torch to share them out
    assert len(on_threads()) == 1


def test_a_gradient_that_is_not_finite_leaves_a_zero_direction_in_one_pass():
    p, q = (torch.nn.Parameter(torch.ones(33)) for _ in range(2))
    opt = S2SAM(torch.optim.SGD([p, q], lr=0.0), rho=0.5)
    for bad in (torch.nan, torch.inf):
        for value in (1.0, bad):
            p.grad, q.grad = torch.ones(33), torch.full((33,), value)
            opt.perturb()
            opt.step()
        assert all((opt.direction(x) == 0).all() for x in (p, q))
        assert np.array_equal(p.detach().numpy(), np.ones(33))
    assert opt.skipped_perturbations == 2


def test_an_exception_before_the_pass_leaves_the_weights_at_w():
    p = torch.nn.Parameter(torch.ones(3, 4))
    opt = S2SAM(torch.optim.SGD([p], lr=0.1), rho=0.5)
    p.grad = torch.ones(3, 4)
    opt.step()
    w = bits([p])
    opt.perturb()
    p.grad = torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1, 4), (3, 4), check_invariants=True)
    with pytest.raises(RuntimeError, match="gradients must be dense"):
        opt.step()
    assert bits([p]) == w


def test_lists_elsewhere_are_the_same_arithmetic(monkeypatch):
    """What other devices run, on the CPU's tensors: the same bits, but for a product that a block leaves unrounded."""
    model, loss = network(dtype=BRAIN)
    opt = S2SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.3)
    train(opt, loss, 2)
    other, twin = copy.deepcopy((model, opt))
    monkeypatch.setattr(blocks, "_LIST", 40)
    seen = []
    for m, o, here in ((model, opt, True), (other, twin, False)):
        with monkeypatch.context() as patch:
            if not here:
                patch.setattr(blocks, "one_pass", lambda t: False)
            o.perturb()
            seen.append(bits(m.parameters()))
            o.restore()
            seen[-1] += bits(o.direction(p) for p in m.parameters())
    assert seen[0] == seen[1]
