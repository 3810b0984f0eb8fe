"""Records for PyTorch's own optimizer suite: S2SAM and SAM around every optimizer of torch that takes dense gradients.

`torch.testing._internal.common_optimizers` ships with torch: its `OptimizerInfo` holds an optimizer's configurations,
refused inputs, implementations and schedulers. `INFOS` has one for each of ours around each base; the checks of
`test_torch_suite*.py` run on every record. Gradients are given, not computed, where a check compares with the bare
base: then the weights must agree bit for bit, whatever the radius.
"""

import itertools

import torch
from optim_support import bits
from torch.testing._internal.common_optimizers import ErrorOptimizerInput, OptimizerInfo, OptimizerInput, optim_db

from s2sam import S2SAM, SAM

RHO = 0.1
REFUSED = {"Adadelta", "LBFGS", "SparseAdam"}  # an option `rho` of its own; several gradients a step; sparse gradients
SHAPES = ((4, 3), (3, 2), (1, 1))  # matrices: Muon takes no others


def over(wrap, base):
    """Return the record of `wrap` around the optimizer of the record `base`."""
    kind = base.optim_cls

    class Over(wrap):
        def __init__(self, params, rho=RHO, adaptive=False, **options):
            super().__init__(kind(params, **options), rho=rho, adaptive=adaptive)

    Over.__name__ = Over.__qualname__ = f"{wrap.__name__}_{kind.__name__}"

    def inputs(device, dtype=None):
        own = [{"rho": 0.0}, {"rho": torch.tensor(0.2)}, {"adaptive": True}, {"lr": torch.tensor(0.01)}]
        return [*base.optim_inputs_func(device, dtype), *[OptimizerInput(None, k, str(k)) for k in own]]

    def errors(device, dtype):
        own = [({"rho": -1.0}, ValueError, "rho must be"), ({"adaptive": 1}, TypeError, "adaptive must be")]
        own += [({"rho": float("nan")}, ValueError, "rho must be"), ({"rho": "big"}, TypeError, "rho must be")]
        own = [
            ErrorOptimizerInput(OptimizerInput(None, kwargs, regex), error_type=error, error_regex=regex)
            for kwargs, error, regex in own
        ]
        complex_ = OptimizerInput([torch.ones(1, 1, dtype=torch.complex64)], {}, "complex")
        given = [e for e in base.optim_error_inputs_func(device, dtype) if "complex" not in e.error_regex]
        own.append(ErrorOptimizerInput(complex_, error_type=ValueError, error_regex="must be real floating-point"))
        return given + own

    return OptimizerInfo(
        Over,
        optim_inputs_func=inputs,
        optim_error_inputs_func=errors,
        scheduler_inputs=base.scheduler_inputs,
        supported_impls=tuple(x for x in base.supported_impls if x != "differentiable"),
        not_og_supported_flags=(*base.not_og_supported_flags, "rho", "adaptive", "rounding_seed", "held_rho"),
        supports_complex=False,
        step_requires_closure=wrap is SAM,
        supports_fused_on=base.supports_fused_on,
    )


BASES = {info.name: info for info in optim_db if info.name not in REFUSED}
INFOS = {f"{wrap.__name__}-{name}": (over(wrap, info), info) for wrap in (S2SAM, SAM) for name, info in BASES.items()}


def configurations(info):
    """Return every input of a record with every implementation it has on the CPU."""
    impls = [x for x in info.supported_impls if x != "fused" or "cpu" in info.supports_fused_on]
    for given, impl in itertools.product(info.optim_inputs_func("cpu"), [None, *impls]):
        foreach_needs_capturable = impl == "foreach" and isinstance(given.kwargs.get("lr"), torch.Tensor)
        if not foreach_needs_capturable:  # torch refuses the pair; its refusal is among the error inputs
            yield given.kwargs | ({} if impl is None else {impl: True})


def parameters(dtypes=(torch.float64,), strided=False, shapes=SHAPES, seed=0):
    """Return parameters of the given types in turn, equal for equal seeds; `strided`: with a hole after each entry."""
    draw = torch.Generator().manual_seed(seed)
    values = []
    for shape, dtype in zip(shapes, itertools.cycle(dtypes)):
        value = torch.randn(*shape, 2, generator=draw, dtype=torch.float64).to(dtype)
        value = value[..., 0] if strided else value[..., 0].clone(memory_format=torch.contiguous_format)
        values.append(torch.nn.Parameter(value))
    return values


def gradients(count, params, seed=1):
    """Return `count` gradients for each parameter."""
    draw = torch.Generator().manual_seed(seed)
    return [[torch.randn(p.shape, generator=draw).to(p.dtype) for p in params] for _ in range(count)]


def drive(opt, params, steps, log=None):
    """Make one step for each list of gradients; `log` gets the weights that each evaluation saw."""
    for given in steps:

        def closure(given=given):
            if log is not None:
                log.append(bits(params))
            for p, g in zip(params, given, strict=True):
                p.grad = None if g is None else g.clone()
            return torch.zeros(())

        opt.step(closure)


def bare(info, kwargs, params):
    """Return the base optimizer alone, ours left out of the options."""
    return info.optim_cls(params, **{k: v for k, v in kwargs.items() if k not in ("rho", "adaptive")})


def quadratic(params):
    """Return the squared distance of the parameters from 0."""
    return sum((p.square().sum() for p in params), torch.zeros((), dtype=params[0].dtype))
