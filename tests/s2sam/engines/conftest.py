"""Make the helper modules of this folder and of its parent importable; two processes do their work once a session."""

import sys
from pathlib import Path

import pytest
import torch
from torch import multiprocessing

for folder in (Path(__file__).parents[1], Path(__file__).parent):
    sys.path.insert(0, str(folder))


@pytest.fixture(scope="session")
def ranks(tmp_path_factory):
    """What both processes reached, and the folder with what they wrote."""
    from engine_checks import save_single
    from engine_ranks import work

    folder = tmp_path_factory.mktemp("ranks")
    save_single(folder / "single")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(rank, str(folder))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(180)
    stuck = [process for process in processes if process.is_alive()]
    for process in stuck:
        process.kill()
    assert not stuck
    assert [process.exitcode for process in processes] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)], folder
