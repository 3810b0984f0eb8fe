"""Where the weights are: w outside `perturbed()`, bit for bit, whatever the loop does."""

import pytest
import torch
from optim_nets import network, stepped
from optim_support import assert_returns_bit_for_bit, bits
from torch.utils.checkpoint import checkpoint

from s2sam import S2SAM, SAM

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_weights_return_bit_for_bit(dtype):
    assert_returns_bit_for_bit(S2SAM, dtype)


def test_an_exception_inside_restores():
    model, _, opt = stepped()
    w = bits(model.parameters())

    def spoil():
        with opt.perturbed():
            assert bits(model.parameters()) != w
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        spoil()
    assert bits(model.parameters()) == w
    with pytest.raises(ZeroDivisionError):
        opt.step(lambda: 1 / 0)
    assert bits(model.parameters()) == w
    assert not opt.is_perturbed


def test_an_exception_in_sams_second_evaluation_restores():
    model, loss = network()
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.1)
    w, calls = bits(model.parameters()), []

    def closure():
        calls.append(bits(model.parameters()))
        loss(0).backward()
        return 1 / (2 - len(calls))

    with pytest.raises(ZeroDivisionError):
        opt.step(closure)
    assert calls[0] == w != calls[1]
    assert bits(model.parameters()) == w
    assert not opt.is_perturbed


def test_step_inside_restores_first_and_the_exit_is_a_no_op():
    model, loss, opt = stepped()
    twin, twin_loss, other = stepped()
    with opt.perturbed():
        loss(1).backward()
        opt.step()
        after = bits(model.parameters())
        assert not opt.is_perturbed
    assert bits(model.parameters()) == after
    with other.perturbed():
        twin_loss(1).backward()
    other.step()
    assert bits(twin.parameters()) == after


def test_perturb_and_restore_are_idempotent():
    model, _, opt = stepped()
    w = bits(model.parameters())
    opt.restore()
    assert bits(model.parameters()) == w
    opt.perturb()
    y = bits(model.parameters())
    opt.perturb()
    assert bits(model.parameters()) == y != w
    assert opt.is_perturbed
    opt.restore()
    opt.restore()
    assert bits(model.parameters()) == w


def test_backward_outside_is_refused_by_autograd():
    _, loss, opt = stepped()
    with opt.perturbed():
        value = loss(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


def test_backward_outside_under_non_reentrant_checkpointing_is_silently_wrong():
    """The documented exception to the rule above: the forward is recomputed at w during backward."""
    model, _, opt = stepped()
    x = torch.linspace(-1, 1, 8).view(2, 4)

    def gradient(inside):
        opt.zero_grad()
        with opt.perturbed():
            value = checkpoint(model, x, use_reentrant=False).square().sum()
            if inside:
                value.backward()
        if not inside:
            value.backward()
        return bits(p.grad for p in model.parameters())

    right, silent = gradient(True), gradient(False)
    assert right != silent
    with opt.perturbed():
        opt.zero_grad()
        model(x).square().sum().backward()
    assert bits(p.grad for p in model.parameters()) == right


def test_storage_and_the_users_gradients_are_left_alone():
    model, loss, opt = stepped()
    loss(0).backward()
    opt.zero_grad(set_to_none=False)
    pointers = [(p.data_ptr(), p.grad.data_ptr()) for p in model.parameters()]
    for t in range(1, 4):
        with opt.perturbed():
            assert [(p.data_ptr(), p.grad.data_ptr()) for p in model.parameters()] == pointers
            loss(t).backward()
        before = bits(p.grad for p in model.parameters())
        opt.step()
        assert bits(p.grad for p in model.parameters()) == before
        assert [(p.data_ptr(), p.grad.data_ptr()) for p in model.parameters()] == pointers
        opt.zero_grad(set_to_none=False)
