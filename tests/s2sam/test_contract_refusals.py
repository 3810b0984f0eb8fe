"""What is refused, each with one line that names argument, rule, value and remedy; nothing is changed by a refusal."""

import pytest
import torch
from optim_nets import network, train
from optim_support import bits

from s2sam import S2SAM, SAM

WRAPS = [S2SAM, SAM]


def weight(dtype=torch.float32):
    return torch.nn.Parameter(torch.ones(2, dtype=dtype))


def sgd(**options):
    return torch.optim.SGD([weight()], lr=0.1, **options)


class Closed(torch.optim.SGD):
    def step(self, closure):
        return super().step(closure)


class Bare(torch.optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {"adaptive": 1})


CASES = {
    "not an optimizer": (
        lambda: torch.nn.Linear(1, 1),
        {},
        TypeError,
        "must be a torch.optim.Optimizer, got Linear",
    ),
    "parameters": (
        lambda: [weight()],
        {},
        TypeError,
        "must be a torch.optim.Optimizer, got list; build it first",
    ),
    "LBFGS": (lambda: torch.optim.LBFGS([weight()]), {}, ValueError, "must take one gradient a step, got LBFGS"),
    "a closure": (lambda: Closed([weight()], lr=0.1), {}, ValueError, "must take one gradient a step, got Closed"),
    "SparseAdam": (
        lambda: torch.optim.SparseAdam([weight()]),
        {},
        ValueError,
        "must take dense gradients, got SparseAdam",
    ),
    "Adadelta": (
        lambda: torch.optim.Adadelta([weight()]),
        {},
        ValueError,
        "no option 'rho' of its own, got Adadelta",
    ),
    "own option": (lambda: Bare([weight()]), {}, ValueError, "must have no option 'adaptive' of its own, got Bare"),
    "S2SAM": (lambda: S2SAM(sgd()), {}, ValueError, "must have no option 'adaptive' of its own, got S2SAM"),
    "wrapped": (lambda: SAM(sgd()).base, {}, ValueError, "must have no option 'adaptive' of its own, got SGD"),
    "complex": (
        lambda: torch.optim.SGD([weight(torch.complex64)]),
        {},
        ValueError,
        "real floating-point, got torch.complex64",
    ),
    "negative": (sgd, {"rho": -0.05}, ValueError, "rho must be finite and >= 0, got -0.05"),
    "infinite": (sgd, {"rho": float("inf")}, ValueError, "rho must be finite and >= 0, got inf"),
    "nan": (sgd, {"rho": float("nan")}, ValueError, "rho must be finite and >= 0, got nan"),
    "text": (sgd, {"rho": "0.05"}, TypeError, "rho must be a number or a tensor, got str"),
    "flag": (sgd, {"rho": True}, TypeError, "rho must be a number or a tensor, got bool"),
    "none": (sgd, {"rho": None}, TypeError, "rho must be a number or a tensor, got NoneType"),
    "negative tensor": (sgd, {"rho": torch.tensor(-1.0)}, ValueError, "rho must be finite and >= 0, got -1.0"),
    "nan tensor": (sgd, {"rho": torch.tensor(torch.nan)}, ValueError, "rho must be finite and >= 0, got nan"),
    "long tensor": (
        sgd,
        {"rho": torch.ones(2)},
        ValueError,
        r"float tensor of shape \(\), got .*of shape \(2,\)",
    ),
    "integer tensor": (sgd, {"rho": torch.tensor(1)}, ValueError, r"float tensor of shape \(\), got torch.int64"),
    "adaptive text": (sgd, {"adaptive": "False"}, TypeError, "adaptive must be True or False, got 'False'"),
}


def snapshot(base):
    return [str(getattr(base, name, None)) for name in ("defaults", "param_groups", "state")]


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("case", CASES)
def test_construction(wrap, case):
    build, options, error, message = CASES[case]
    base = build()
    before = snapshot(base)
    with pytest.raises(error, match=message) as caught:
        wrap(base, **options)
    assert "\n" not in str(caught.value)
    assert snapshot(base) == before


GROUPS = {
    "rho": ({"rho": -1.0}, ValueError, "rho must be finite and >= 0, got -1.0"),
    "adaptive": ({"adaptive": 1}, TypeError, "adaptive must be True or False, got 1"),
    "complex": (
        {"params": [weight(torch.complex128)]},
        ValueError,
        "must be real floating-point, got torch.complex128",
    ),
    "named": ({"params": [("z", weight(torch.complex64))]}, ValueError, "got torch.complex64; use torch.view_as_real"),
    "set": ({"params": {weight()}}, TypeError, "ordered collections"),
}


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("case", GROUPS)
def test_adding_a_group(wrap, case):
    options, error, message = GROUPS[case]
    opt = wrap(sgd())
    with pytest.raises(error, match=message):
        opt.add_param_group({"params": [weight()], **options})
    assert len(opt.param_groups) == 1


def test_a_group_of_the_base_is_checked_too():
    base = torch.optim.SGD([{"params": [weight()], "rho": -2.0}], lr=0.1)
    with pytest.raises(ValueError, match=r"rho must be finite and >= 0, got -2\.0"):
        S2SAM(base)


def test_sam_without_a_closure():
    opt = SAM(sgd())
    calls = []
    opt.register_step_pre_hook(lambda *_: calls.append(1))
    with pytest.raises(RuntimeError, match="closure must be given, got None; SAM evaluates it twice, S2SAM needs none"):
        opt.step()
    assert not calls


@pytest.mark.parametrize("wrap", WRAPS)
def test_sparse_gradients(wrap):
    table = torch.nn.Embedding(4, 2, sparse=True)
    opt = wrap(torch.optim.SGD(table.parameters(), lr=0.1))
    w = bits(table.parameters())
    with pytest.raises(RuntimeError, match=r"gradients must be dense, got torch\.sparse_coo; use sparse=False"):
        opt.step(lambda: table(torch.tensor([1])).sum().backward())
    assert bits(table.parameters()) == w
    assert not opt.is_perturbed


@pytest.mark.parametrize("bad", [-0.1, float("nan"), "0.1"])
def test_a_scheduled_radius_is_checked_before_anything_moves(bad):
    model, loss = network()
    opt = S2SAM(torch.optim.SGD([{"params": model[0].parameters()}, {"params": model[2].parameters()}], lr=0.1))
    train(opt, loss, 2)
    w, d = bits(model.parameters()), bits(opt.direction(p) for p in model.parameters())
    opt.param_groups[1]["rho"] = bad
    with pytest.raises((ValueError, TypeError), match="rho must be"):
        opt.perturb()
    assert bits(model.parameters()) == w
    assert bits(opt.direction(p) for p in model.parameters()) == d
    assert not opt.is_perturbed


def test_attaching_to_a_model_with_parameters_outside_the_base():
    model, _ = network()
    opt = S2SAM(torch.optim.SGD(model[0].parameters(), lr=0.1))
    message = (
        "model must have its trainable parameters in base_optimizer, got '2.weight' outside; add it by add_param_group"
    )
    with pytest.raises(ValueError, match=message):
        opt.attach(model)
    assert not model._forward_pre_hooks
    model[2].requires_grad_(False)
    opt.attach(model).remove()
    opt.attach(model[0]).remove()
