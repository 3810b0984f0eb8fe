"""Misuse, one class a line of the table: each is refused by one line that says argument, rule, value and remedy.

A refusal changes nothing: weights, gradients, state and groups are compared bit for bit before and after.
"""

import copy

import pytest
import torch
from optim_nets import network, train
from optim_support import bits

from s2sam import S2SAM, SAM

BOTH = (S2SAM, SAM)
S2 = (S2SAM,)


def weight(dtype=torch.float32):
    return torch.nn.Parameter(torch.ones(2, dtype=dtype))


def sgd(parameters=None, **options):
    return torch.optim.SGD(parameters or [weight()], **{"lr": 0.1, **options})


class Closed(torch.optim.SGD):
    def step(self, closure):
        return super().step(closure)


class Own(torch.optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {"adaptive": 1})


def wraps(base, error, message, **options):
    """A line of the table: the constructor refuses this base, or these options."""
    return BOTH, lambda wrap: (built := base(), lambda: wrap(built, **options)), error, message


def uses(act, error, message, wraps=BOTH, before=lambda opt: None):
    """A line of the table: an optimizer in use, after `before(optimizer)`, refuses `act(optimizer, model)`."""

    def build(wrap):
        opt = running(wrap)
        before(opt)
        return opt, lambda: act(opt, opt.model)

    return wraps, build, error, message


def running(wrap):
    """An optimizer after two steps, with momentum, its model beside it."""
    model, loss = network()
    opt = wrap(sgd([{"params": model[0].parameters()}, {"params": model[2].parameters()}], momentum=0.9), rho=0.1)
    for t in range(2):

        def closure(t=t):
            opt.zero_grad()
            value = loss(t)
            value.backward()
            return value

        opt.step(closure)
    opt.model = model
    return opt


def add(**options):
    return lambda opt, model: opt.add_param_group({"params": [weight()], **options})


def load(change):
    def act(opt, model):
        state = copy.deepcopy(opt.state_dict())
        opt.load_state_dict(change(state) or state)

    return act


def set_and(name, value, then):
    def act(opt, model):
        old = opt.param_groups[1][name]
        opt.param_groups[1][name] = value
        try:
            then(opt)
        finally:
            opt.param_groups[1][name] = old

    return act


def step(opt):
    opt.step(lambda: pytest.fail("evaluated before the radius was checked"))


def first(model):
    return model[0].weight


def sparse_gradient(opt):
    first(opt.model).grad = torch.ones_like(first(opt.model)).to_sparse()


def resize(state):
    state["state"][0]["ascent"] = torch.ones(2, 8)


def regroup(state):
    state["param_groups"] = state["param_groups"][:1]


def fewer(state):
    state["param_groups"][0]["params"] = [0]


def saved(**options):
    return lambda state: state["param_groups"][1].update(options)


RHO = "rho must be finite and >= 0, got "
TAKEN = "base_optimizer must have no option 'adaptive' of its own, got "

MISUSE = {
    # what is wrapped
    "not an optimizer": wraps(
        lambda: torch.nn.Linear(1, 1), TypeError, "must be a torch.optim.Optimizer, got Linear; build"
    ),
    "parameters instead of an optimizer": wraps(lambda: [weight()], TypeError, "Optimizer, got list; build it first"),
    "a class instead of an optimizer": wraps(lambda: torch.optim.SGD, TypeError, "Optimizer, got type; build it"),
    "LBFGS": wraps(lambda: torch.optim.LBFGS([weight()]), ValueError, "must take one gradient a step, got LBFGS"),
    "a base that needs a closure": wraps(
        lambda: Closed([weight()], lr=0.1), ValueError, "must take one gradient a step, got Closed"
    ),
    "SparseAdam": wraps(
        lambda: torch.optim.SparseAdam([weight()]), ValueError, "must take dense gradients, got SparseAdam"
    ),
    "differentiable": wraps(lambda: sgd(differentiable=True), ValueError, "not be differentiable, got SGD"),
    "Adadelta": wraps(lambda: torch.optim.Adadelta([weight()]), ValueError, "no option 'rho' of its own, got Adadelta"),
    "a base with an option adaptive": wraps(lambda: Own([weight()]), ValueError, TAKEN + "Own"),
    "wrapped twice": wraps(lambda: S2SAM(sgd()), ValueError, TAKEN + "S2SAM"),
    "the base of another wrapper": wraps(lambda: SAM(sgd()).base, ValueError, TAKEN + "SGD"),
    "complex parameters": wraps(lambda: sgd([weight(torch.complex64)]), ValueError, "real floating-point, got torch.c"),
    "integer parameters": wraps(
        lambda: sgd([torch.ones(2, dtype=torch.int64)]), ValueError, "real floating-point, got torch.int64"
    ),
    "a group of the base with a bad radius": wraps(
        lambda: sgd([{"params": [weight()], "rho": -2.0}]), ValueError, RHO + r"-2\.0"
    ),
    # options
    "rho negative": wraps(sgd, ValueError, RHO + r"-0\.05; 0 perturbs nothing", rho=-0.05),
    "rho infinite": wraps(sgd, ValueError, RHO + "inf", rho=float("inf")),
    "rho nan": wraps(sgd, ValueError, RHO + "nan", rho=float("nan")),
    "rho as text": wraps(sgd, TypeError, "rho must be a number or a tensor, got str", rho="0.05"),
    "rho as a flag": wraps(sgd, TypeError, "rho must be a number or a tensor, got bool", rho=True),
    "rho None": wraps(sgd, TypeError, "rho must be a number or a tensor, got NoneType", rho=None),
    "rho a list": wraps(sgd, TypeError, "rho must be a number or a tensor, got list", rho=[0.1]),
    "rho a negative tensor": wraps(sgd, ValueError, RHO + r"-1\.0", rho=torch.tensor(-1.0)),
    "rho a nan tensor": wraps(sgd, ValueError, RHO + "nan", rho=torch.tensor(torch.nan)),
    "rho a vector": wraps(sgd, ValueError, r"of shape \(\), got torch.float32 of shape \(2,\)", rho=torch.ones(2)),
    "rho an integer tensor": wraps(sgd, ValueError, r"of shape \(\), got torch.int64", rho=torch.tensor(1)),
    "adaptive as text": wraps(sgd, TypeError, "adaptive must be True or False, got 'False'", adaptive="False"),
    "a rounding seed below 0": wraps(sgd, ValueError, "rounding_seed must be None or an integer", rounding_seed=-1),
    "a rounding seed that is a flag": wraps(sgd, ValueError, "an integer >= 0, got True; None", rounding_seed=True),
    "a rounding seed as text": wraps(sgd, ValueError, "got 'stochastic'; None rounds", rounding_seed="stochastic"),
    # groups
    "a group with a bad radius": uses(add(rho=-1.0), ValueError, RHO + r"-1\.0"),
    "a group with a bad flag": uses(add(adaptive=1), TypeError, "adaptive must be True or False, got 1"),
    "a group of complex parameters": uses(
        add(params=[weight(torch.complex128)]), ValueError, "floating-point, got torch.complex128"
    ),
    "a group of named complex parameters": uses(
        add(params=[("z", weight(torch.complex64))]), ValueError, "got torch.complex64; use torch.view_as_real"
    ),
    # calls
    "SAM without a closure": uses(
        lambda opt, _: opt.step(), RuntimeError, "closure must be given, got None; SAM evaluates it twice", (SAM,)
    ),
    "a loss instead of a closure": uses(
        lambda opt, _: opt.step(torch.ones(())), TypeError, "closure must be a function, got Tensor"
    ),
    "a hook that cannot be called": uses(
        lambda opt, _: opt.register_gradient_hook(None), TypeError, "hook must be a function, got NoneType"
    ),
    "sparse gradients": uses(
        lambda opt, _: opt.step(*[lambda: None] * isinstance(opt, SAM)),
        RuntimeError,
        r"gradients must be dense, got torch\.sparse_coo; use sparse=False",
        before=sparse_gradient,
    ),
    "a radius scheduled below 0": uses(set_and("rho", -0.1, step), ValueError, RHO + r"-0\.1"),
    "a radius scheduled to nan": uses(set_and("rho", float("nan"), step), ValueError, RHO + "nan"),
    "a radius set to text": uses(set_and("rho", "0.1", step), TypeError, "rho must be a number or a tensor, got str"),
    "the direction while perturbed": uses(
        lambda opt, model: opt.direction(first(model)),
        RuntimeError,
        "direction must be read at w, got perturbed parameters; call restore",
        S2,
        before=S2SAM.perturb,
    ),
    "the direction of another tensor": uses(
        lambda opt, _: opt.direction(weight()), ValueError, "must be one of the optimizer's, got another tensor", S2
    ),
    "attached to parameters outside": uses(
        lambda opt, model: opt.attach(torch.nn.Sequential(model, torch.nn.Linear(1, 1))),
        ValueError,
        r"its trainable parameters in base_optimizer, got '1\.weight' outside; add it by add_param_group",
        S2,
    ),
    "diagnostics before a step": uses(
        lambda opt, _: opt.diagnostics().read(), RuntimeError, "must be read after a step, got none since they began"
    ),
    # states
    "a checkpoint that is no optimizer's": uses(
        load(lambda s: {"model": {}, "optimizer": s}), TypeError, r"must have 'state' and 'param_groups', got keys \['m"
    ),
    "a state of other groups": uses(load(regroup), ValueError, r"groups of \[2, 2\] parameters.*with \[2\]"),
    "a state of other parameters": uses(load(fewer), ValueError, r"groups of \[2, 2\] parameters.*with \[1, 2\]"),
    "a state with a bad radius": uses(load(saved(rho=-3.0)), ValueError, RHO + r"-3\.0"),
    "a state with a bad flag": uses(load(saved(adaptive="no")), TypeError, "adaptive must be True or False, got 'no'"),
    "a state of another model": uses(
        load(resize), ValueError, r"shape \(8, 4\), got \(2, 8\); load the state of the same", S2
    ),
}


def photograph(thing):
    """Return all that a refusal must leave alone: bits of weights, gradients and state; groups, defaults, hooks."""
    opt = getattr(thing, "base", thing)
    if not isinstance(opt, torch.optim.Optimizer):
        return repr(thing)
    params = [p for g in opt.param_groups for p in g["params"]]
    slots = [(k, v) for p in params for k, v in opt.state.get(p, {}).items()]
    groups = [{k: v for k, v in g.items() if k != "params"} for g in opt.param_groups]
    return {
        "weights": bits(params),
        "gradients": [None if p.grad is None else bits([p.grad.to_dense()]) for p in params],
        "state": [(k, bits([v]) if isinstance(v, torch.Tensor) else v) for k, v in slots],
        "groups": repr([groups, [[id(p) for p in g["params"]] for g in opt.param_groups], opt.defaults]),
        "hooks": [len(getattr(opt, name)) for name in vars(opt) if name.endswith("_hooks")],
        "counted": int(getattr(thing, "skipped_perturbations", 0)),
    }


def assert_refused(thing, act, error, message):
    """The act raises one line that says rule, value and remedy, and leaves everything as it was."""
    before = photograph(thing)
    with pytest.raises(error, match=message) as caught:
        act()
    text = str(caught.value)
    assert "\n" not in text
    assert 0 < text.find(" must ") < text.find(", got ") < text.rfind("; "), text
    after = photograph(thing)
    changed = [k for k in before if before[k] != after[k]] if isinstance(before, dict) else before != after
    assert not changed


@pytest.mark.parametrize(
    ("wrap", "case"), [pytest.param(w, c, id=f"{c} ({w.__name__})") for c, (ws, *_) in MISUSE.items() for w in ws]
)
def test_misuse_is_refused_and_changes_nothing(wrap, case):
    _, build, error, message = MISUSE[case]
    thing, act = build(wrap)
    assert_refused(thing, act, error, message)


def test_a_refusal_that_changes_something_or_says_too_little_is_found():
    def silent(opt, model):
        raise ValueError("rho is bad")

    def late(opt, model):
        with torch.no_grad():
            first(model).add_(1.0)
        opt.add_param_group({"params": [weight()], "rho": -1.0})

    for act, message in ((silent, "rho"), (late, "rho must be")):
        opt = running(S2SAM)
        with pytest.raises(AssertionError):
            assert_refused(opt, lambda act=act, opt=opt: act(opt, opt.model), ValueError, message)


def test_a_refused_state_leaves_the_hooks_of_loading_as_they_were():
    opt = running(S2SAM)
    seen = []
    opt.register_load_state_dict_pre_hook(lambda o, state: seen.append(1))
    with pytest.raises(TypeError, match="state_dict must have"):
        opt.load_state_dict({"model": {}})
    opt.load_state_dict(opt.state_dict())
    assert seen == [1, 1]
    assert len(opt._optimizer_load_state_dict_pre_hooks) == 1


def test_a_state_may_be_converted_by_a_hook_before_it_is_checked():
    opt = running(S2SAM)
    saved_state = copy.deepcopy(opt.state_dict())
    opt.register_load_state_dict_pre_hook(lambda o, state: state["optimizer"])
    opt.load_state_dict({"optimizer": saved_state})
    assert bits(opt.direction(p) for p in opt.model.parameters()) == bits(
        slots["ascent"] for slots in saved_state["state"].values()
    )


def test_a_scheduled_radius_is_checked_before_anything_moves():
    model, loss = network()
    opt = S2SAM(sgd([{"params": model[0].parameters()}, {"params": model[2].parameters()}]))
    train(opt, loss, 2)
    opt.param_groups[1]["rho"] = -0.1
    assert_refused(opt, opt.perturb, ValueError, "rho must be")
    assert not opt.is_perturbed


def test_a_set_of_parameters_is_refused_by_torch():
    opt = running(S2SAM)
    before = photograph(opt)
    with pytest.raises(TypeError, match="ordered collections"):
        opt.add_param_group({"params": {weight()}})
    with pytest.raises(ValueError, match="more than one parameter group"):
        opt.add_param_group({"params": [first(opt.model)]})
    assert photograph(opt) == before


def test_what_is_refused_may_be_right_elsewhere():
    model, _ = network()
    opt = S2SAM(sgd(model[0].parameters()))
    with pytest.raises(ValueError, match=r"got '2\.weight' outside"):
        opt.attach(model)
    assert not model._forward_pre_hooks
    model[2].requires_grad_(False)
    opt.attach(model).remove()
    opt.attach(model[0]).remove()
