"""Profiles and isolation for the whole suite.

HYPOTHESIS_PROFILE chooses: dev (default, quick), ci (derandomized, no deadline, prints how to reproduce), deep (a
long search).
"""

import os

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("dev", max_examples=25, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=40, deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("deep", max_examples=2000, deadline=None)
torch.set_num_threads(1)  # small tensors: a second thread brings nothing, and on a busy machine each barrier waits
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.fixture(autouse=True)
def _global_state_is_left_alone():
    """Fail a test that leaks a default dtype or gradient mode, and give each the same global seed."""
    torch.manual_seed(0)
    yield
    assert torch.get_default_dtype() is torch.float32
    assert torch.is_grad_enabled()
