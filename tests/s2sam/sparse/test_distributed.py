"""Two processes with different data choose the same masks and reach the same weights; without the mean they do not."""

import pytest
import torch
from method_table import build
from optim_support import bits
from sparse_checks import network
from sparse_ranks import RUNS, data_of, work
from torch import multiprocessing, nn

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What both processes reached."""
    folder = tmp_path_factory.mktemp("ranks")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(rank, str(folder))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    stuck = [process for process in processes if process.is_alive()]
    for process in stuck:
        process.kill()
    assert not stuck
    assert [process.exitcode for process in processes] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def assert_agree(ranks, name, what=("chosen", "masks", "weights")):
    for kind in what:
        a, b = (rank[name][kind] for rank in ranks)
        assert a.keys() == b.keys()
        for layer in a:
            assert bits([a[layer]]) == bits([b[layer]]), f"{kind} of {layer} differ between the ranks"


@pytest.mark.parametrize("name", [*RUNS, "rigl after", "rigl wrapper"])
def test_both_ranks_agree(ranks, name):
    assert_agree(ranks, name)
    assert any((~mask).any() for mask in ranks[0][name]["masks"].values())
    if name not in ("snip", "grasp"):
        assert ranks[0][name]["moves"] == ranks[1][name]["moves"] >= 1


def test_the_place_of_the_controller_does_not_matter(ranks):
    for rank in ranks:
        for where in ("rigl after", "rigl wrapper"):
            for kind in ("masks", "weights"):
                assert bits(rank[where][kind].values()) == bits(rank["rigl"][kind].values())


@pytest.mark.parametrize("name", ["snip", "grasp"])
def test_masks_from_data_are_those_of_all_data(ranks, name):
    """One process with both batches: the mean of two doubles is the same sum."""
    model = network()
    sparse = build(name, model)
    sparse.prepare(model, [data_of(rank, -1) for rank in range(2)], nn.functional.cross_entropy)
    for layer, mask in sparse.masks.items():
        assert torch.equal(ranks[0][name]["chosen"][layer], mask)


@pytest.mark.parametrize("name", ["snip", "grasp"])
def test_without_the_mean_masks_differ(ranks, name):
    with pytest.raises(AssertionError, match=r"chosen of .* differ between the ranks"):
        assert_agree(ranks, f"{name} unreduced")


def test_an_update_averages_gradients(ranks):
    """Whoever averaged them before, or nobody: ranks of equal weights get equal masks."""
    assert_agree(ranks, "by hand", ["masks"])
    assert ranks[0]["by hand"]["moves"] >= 1
    with pytest.raises(AssertionError, match=r"masks of .* differ between the ranks"):
        assert_agree(ranks, "by hand unreduced", ["masks"])


def test_buffers_are_broadcast_as_bool(ranks):
    assert_agree(ranks, "corrected", ["masks"])
    assert all(mask.dtype is torch.bool for rank in ranks for mask in rank["corrected"]["masks"].values())
