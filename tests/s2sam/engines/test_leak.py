"""Ten thousand steps do not make the process grow."""

import ctypes
import gc
from pathlib import Path

import pytest
import torch
from engine_checks import build

pytestmark = pytest.mark.slow
STEPS, WARM = 10_000, 2_000
PAGES = Path("/proc/self/statm")


def resident():
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)  # what is free does not count: it could hide a leak
    return int(PAGES.read_text().split()[1]) * 4096


def growth(steps, warm, leak=None):
    """Bytes that the process grew by from step `warm` to step `steps`; evaluated, skipped and retried now and then."""
    model = torch.nn.Linear(4, 3)
    opt = build(model.parameters())
    opt.attach(model)
    x, before = torch.randn(8, 4), 0
    for t in range(steps):
        if t == warm:
            before = resident()
        loss = model(x).square().sum()
        if t % 7 == 0:  # an abandoned step, then an evaluation
            with torch.no_grad():
                model(x)
            loss = model(x).square().sum()
        loss.backward()
        opt.step()
        opt.zero_grad()
        if leak is not None:
            leak.append(opt.direction(model.weight).clone())
        if t % 1000 == 0:
            opt.state_dict()
    return resident() - before


@pytest.mark.skipif(not PAGES.exists(), reason="needs /proc")
def test_memory_stays():
    # The smallest leak is one object a step. A tensor has at least 64 bytes of data, as torch aligns them, and objects
    # in C++ and in Python, of 64 bytes at least: 192 bytes a step. Half of it is allowed, for pages in part free.
    assert growth(STEPS, WARM) <= (STEPS - WARM) * 192 // 2
    assert growth(WARM + 2000, WARM, leak=[]) > 2000 * 192 // 2
