"""Hugging Face Accelerate: attached to the prepared model the loop stays as Accelerate shows it; explicitly too."""

import pytest
import torch
from engine_checks import STEPS, Net, build, data, loss_of, weights
from optim_support import bits
from torch.utils.data import DataLoader, Dataset

accelerate = pytest.importorskip("accelerate")


@pytest.fixture(autouse=True)
def _fresh():
    """Accelerate keeps its settings for the whole process."""

    def forget():
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
        accelerate.state.GradientState._reset_state()

    forget()
    yield
    forget()


class Batches(Dataset):
    """One item is one batch, so that both loops see the same."""

    def __len__(self):
        return STEPS

    def __getitem__(self, t):
        x, y = data(torch.float32)
        return x[t], y[t]


def prepared(precision="no", micro=1):
    accelerator = accelerate.Accelerator(cpu=True, mixed_precision=precision, gradient_accumulation_steps=micro)
    model = Net(torch.float32)
    return accelerator, *accelerator.prepare(model, build(model.parameters()), DataLoader(Batches(), batch_size=None))


def epoch(accelerator, model, optimizer, loader, attach, clip):
    path = []
    inner = optimizer.optimizer  # ours, which Accelerate wraps
    handle = inner.attach(model) if attach else None
    for x, y in loader:
        with accelerator.accumulate(model):
            with torch.enable_grad() if attach else inner.perturbed():
                loss = torch.nn.functional.cross_entropy(model(x), y)
                accelerator.backward(loss)
            if clip and accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 0.05)
            optimizer.step()
            optimizer.zero_grad()
        if accelerator.sync_gradients:
            path.append(weights(inner))
    if handle:
        handle.remove()
    return path


def plain(micro=1, autocast=False, clip=False):
    model = Net(torch.float32)
    opt, path = build(model.parameters()), []
    for t in range(STEPS):
        with opt.perturbed():
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss = loss_of(model, t, dtype=torch.float32)
            (loss / micro).backward()
        if (t + 1) % micro == 0:
            if clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
            opt.step()
            opt.zero_grad()
            path.append(weights(opt))
    return path


@pytest.mark.parametrize("attach", [False, True])
@pytest.mark.parametrize(("micro", "clip"), [(1, False), (1, True), (2, False), (2, True)])
def test_it_trains_as_the_plain_loop_does(attach, micro, clip):
    assert bits(epoch(*prepared(micro=micro), attach, clip)) == bits(plain(micro, clip=clip))


def test_the_comparison_can_fail():
    """Without being attached or perturbed the run is the base optimizer's."""
    accelerator, model, optimizer, loader = prepared()
    for x, y in loader:
        accelerator.backward(torch.nn.functional.cross_entropy(model(x), y))
        optimizer.step()
        optimizer.zero_grad()
    assert bits([weights(optimizer.optimizer)]) != bits(plain()[-1:])


@pytest.mark.parametrize("attach", [False, True])
def test_mixed_precision(attach):
    """Accelerate's autocast is around the model's forward alone; its output comes back in float32."""
    model = Net(torch.float32)
    opt, path = build(model.parameters()), []
    x, y = data(torch.float32)
    for t in range(STEPS):
        with opt.perturbed():
            with torch.autocast("cpu", torch.bfloat16):
                out = model(x[t])
            torch.nn.functional.cross_entropy(out.float(), y[t]).backward()
        opt.step()
        opt.zero_grad()
        path.append(weights(opt))
    assert bits(epoch(*prepared("bf16"), attach, False)) == bits(path)


def test_a_saved_state_resumes_bit_for_bit(tmp_path):
    first = prepared()
    epoch(*first, True, False)
    first[0].save_state(tmp_path)
    expected = epoch(*first, True, False)
    second = prepared()
    second[2].optimizer.param_groups[0]["rho"] = 0.0
    second[0].load_state(tmp_path)
    assert bits(epoch(*second, True, False)) == bits(expected)
