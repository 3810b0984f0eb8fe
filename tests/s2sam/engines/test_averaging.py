"""Weight averaging, BatchNorm's statistics and activation checkpointing beside the optimizer, over a whole run."""

import copy

import pytest
import torch
from engine_checks import STEPS, build, data
from optim_support import bits
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from torch.utils.checkpoint import checkpoint

X, Y = data(torch.float32)


class Normed(nn.Module):
    """With BatchNorm; `save_memory` recomputes the body during backward."""

    def __init__(self, save_memory=False):
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.Tanh())
        self.norm, self.head, self.save_memory = nn.BatchNorm1d(6), nn.Linear(6, 3), save_memory

    def forward(self, x):
        return self.head(self.norm(checkpoint(self.body, x, use_reentrant=False) if self.save_memory else self.body(x)))


def run(model, attach=False, averages=(), early=False, opt=None, start=0, stop=STEPS):
    opt = build(model.parameters()) if opt is None else opt
    handle = opt.attach(model) if attach else None
    path = []
    for t in range(start, stop):
        with torch.enable_grad() if attach else opt.perturbed():
            loss = nn.functional.cross_entropy(model(X[t]), Y[t])
            if not early:
                loss.backward()
        if early:
            loss.backward()  # outside: recomputed at w
        opt.step()
        opt.zero_grad()
        for average in averages:
            average.update_parameters(model)
        path.append([p.detach().clone() for p in model.parameters()])
    if handle:
        handle.remove()
    return path


@pytest.mark.parametrize("attach", [False, True])
def test_averages_are_of_w_and_change_nothing(attach):
    model = Normed()
    averages = [AveragedModel(model), AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))]
    path = run(model, attach, averages)
    assert [bits(w) for w in path] == [bits(w) for w in run(Normed(), attach)]
    for i, (mean, moving) in enumerate(zip(*(average.module.parameters() for average in averages), strict=True)):
        ws = torch.stack([w[i].double() for w in path])
        # A running mean rounds 3 times a step, on entries below 4; the other one too. rho is 0.2.
        assert (mean - ws.mean(0)).abs().max() <= 3 * STEPS * 4 * 2.0**-24
        factors = torch.tensor([0.5 ** (STEPS - 1), *(0.5 ** (STEPS - t) for t in range(1, STEPS))]).double()
        expected = (factors.view(-1, *[1] * (ws.ndim - 1)) * ws).sum(0)
        assert (moving - expected).abs().max() <= 3 * STEPS * 4 * 2.0**-24
    update_bn([(x,) for x in X], averages[0])
    statistics = averages[0].module.norm.running_mean
    with torch.no_grad():
        hidden = torch.stack([averages[0].module.body(x).mean(0) for x in X]).mean(0)
    assert (statistics - hidden).abs().max() <= (STEPS + 8) * 4 * 2.0**-24  # means over 8 rows and over the batches


@pytest.mark.parametrize("attach", [False, True])
def test_activation_checkpointing_changes_no_bit(attach):
    expected = [bits(w) for w in run(Normed(), attach)]
    assert [bits(w) for w in run(Normed(save_memory=True), attach)] == expected


def test_backward_outside_is_refused_but_under_activation_checkpointing_it_may_not_be():
    """Recomputed at w, the gradient is that of another function; the run is not the documented one."""
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        run(Normed(), early=True)
    model, wrong = nn.Linear(5, 3), nn.Linear(5, 3)
    wrong.load_state_dict(model.state_dict())
    paths = []
    for net, late in ((model, False), (wrong, True)):
        opt = build(net.parameters())
        for t in range(3):
            with opt.perturbed():
                out = checkpoint(lambda x, net=net: net(net(x)[:, :1].expand(-1, 5)), X[t], use_reentrant=False)
                loss = nn.functional.cross_entropy(out, Y[t])
                if not late:
                    loss.backward()
            if late:
                loss.backward()
            opt.step()
            opt.zero_grad()
        paths.append(bits(net.parameters()))
    assert paths[0] != paths[1]


@pytest.mark.parametrize("attach", [False, True])
def test_a_run_with_an_average_resumes_bit_for_bit(attach):
    kept, reached = None, []
    for start, stop in ((0, STEPS // 2), (STEPS // 2, STEPS), (0, STEPS)):
        model = Normed(save_memory=True)
        average, opt = AveragedModel(model, use_buffers=True), build(model.parameters())
        if start:
            for thing, state in zip((model, average, opt), kept, strict=True):
                thing.load_state_dict(state)
        run(model, attach, [average], opt=opt, start=start, stop=stop)
        kept = copy.deepcopy([thing.state_dict() for thing in (model, average, opt)])
        reached.append(bits([*kept[0].values(), *kept[1].values()]))
    assert reached[1] == reached[2]
    assert reached[0] != reached[2]
