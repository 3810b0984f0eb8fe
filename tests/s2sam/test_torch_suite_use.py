"""PyTorch's own checks of how an optimizer is called and what it refuses, on S2SAM and SAM around every base.

Not copied: each check is ours, of the behaviour that PyTorch's `test/test_optim.py` demands of its optimizers.
"""

import unittest.mock

import pytest
import torch
from optim_support import bits
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db
from torch_suite import BASES, INFOS, REFUSED, drive, gradients, parameters, quadratic

EACH = pytest.mark.parametrize("name", INFOS)


@EACH
def test_gradients_are_not_written_to(name):
    info, _ = INFOS[name]
    for impl in [{}, *({i: True} for i in info.supported_impls if i == "foreach")]:
        params = parameters()
        opt = info.optim_cls(params, **impl)
        for given in gradients(3, params):
            kept = [g.clone() for g in given]

            def closure(given=given, params=params):
                for p, g in zip(params, given, strict=True):
                    p.grad = g
                return torch.zeros(())

            opt.step(closure)
            assert all(p.grad is g for p, g in zip(params, given, strict=True))
            assert bits(given) == bits(kept)


@EACH
def test_the_default_dtype_does_not_matter(name):
    info, _ = INFOS[name]
    runs = []
    for default in (torch.float32, torch.float64):
        torch.set_default_dtype(default)
        try:
            params = parameters((torch.float32,))
            drive(info.optim_cls(params), params, gradients(3, params), seen := [])
            runs.append((bits(params), seen))
        finally:
            torch.set_default_dtype(torch.float32)
    assert runs[0] == runs[1]


@EACH
def test_the_closure_runs_with_gradients_enabled_and_its_loss_comes_back(name):
    info, _ = INFOS[name]
    params = parameters()
    opt, losses = info.optim_cls(params), []

    def closure():
        opt.zero_grad()
        losses.append(quadratic(params))
        losses[-1].backward()
        return losses[-1]

    with torch.no_grad():
        assert opt.step(closure) is losses[0]
    assert len(losses) == 1 + info.step_requires_closure


@EACH
def test_refused_inputs(name):
    info, _ = INFOS[name]
    for case in info.optim_error_inputs_func("cpu", torch.float32):
        given = case.optimizer_error_input
        params = parameters() if given.params is None else given.params
        check = pytest.warns if issubclass(case.error_type, Warning) else pytest.raises
        with check(case.error_type, match=case.error_regex):
            opt = info.optim_cls(params, **given.kwargs)
            if case.error_on is OptimizerErrorEnum.STEP_ERROR:
                opt.step(lambda: None)


@EACH
def test_the_multi_tensor_implementation_of_the_base_is_used(name):
    info, base = INFOS[name]
    if "foreach" not in info.supported_impls:
        pytest.skip("the base has one implementation only")
    kind = base.optim_cls if base.optim_cls is not torch.optim.AdamW else torch.optim.Adam  # whose code it shares
    function = f"{kind.__init__.__module__}._multi_tensor_{kind.__name__.lower()}"
    params = parameters()
    opt = info.optim_cls(params, foreach=True)
    with unittest.mock.patch(function) as called:
        drive(opt, params, gradients(2, params))
    assert called.call_count == 2


def test_every_optimizer_of_torch_is_run_or_refused():
    assert {info.name for info in optim_db} == BASES.keys() | REFUSED
    assert not REFUSED & BASES.keys()
    torch_has = {
        n for n, c in vars(torch.optim).items() if isinstance(c, type) and issubclass(c, torch.optim.Optimizer)
    }
    assert torch_has - {"Optimizer"} == BASES.keys() | REFUSED


def test_records_leave_implementations_to_the_checks():
    for info, _ in INFOS.values():
        for given in info.optim_inputs_func("cpu"):
            assert not {"foreach", "fused", "differentiable"} & given.kwargs.keys()
