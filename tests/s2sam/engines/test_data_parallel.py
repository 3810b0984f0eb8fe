"""DDP with two processes: one direction, bit for bit; the path of one process with both halves of each batch."""

import pytest
import torch
from engine_checks import STEPS, Net, assert_equals_one_process, build, plain, train, weights
from optim_support import bits

from s2sam import SAM

pytestmark = pytest.mark.slow
RUNS = {"ddp": {}, "ddp attached": {}, "ddp accumulated": {}, "ddp sam": {"wrap": SAM}}


def assert_one_direction(a, b):
    assert (a != 0).any()
    assert bits([a]) == bits([b]), "the directions of the processes differ"


@pytest.mark.parametrize("name", RUNS)
def test_it_trains_as_one_process_does(ranks, name):
    for rank in ranks[0]:
        assert_equals_one_process(rank[name]["path"], **RUNS[name])


@pytest.mark.parametrize("name", RUNS)
def test_every_process_has_the_same_direction_and_weights(ranks, name):
    first, second = (rank[name] for rank in ranks[0])
    assert_one_direction(first["direction"], second["direction"])
    assert bits(first["path"]) == bits(second["path"])


def test_without_the_mean_of_the_gradients_directions_differ(ranks):
    with pytest.raises(AssertionError, match="directions of the processes differ"):
        assert_one_direction(*(rank["ddp unaveraged"] for rank in ranks[0]))


def test_an_evaluation_between_forward_and_backward_is_at_w(ranks):
    assert all(rank["ddp attached"]["kept"] for rank in ranks[0])


def test_micro_batches_without_synchronisation_see_one_y(ranks):
    assert all(rank["ddp accumulated"]["same y"] for rank in ranks[0])


def test_a_checkpoint_of_ddp_is_one_of_a_single_process(ranks):
    """Saved on two processes, resumed on one: the states are equal, and so is the path, up to rounding."""
    saved = torch.load(ranks[1] / "ddp0.pt", weights_only=True)
    model = Net()
    opt = build(model.parameters(), rho=0.0)
    model.load_state_dict({name.removeprefix("module."): value for name, value in saved["model"].items()})
    opt.load_state_dict(saved["optimizer"])
    path = [*ranks[0][0]["ddp resumed"]["path"][: STEPS // 2 + 1], *train(model, opt, STEPS // 2, STEPS)]
    assert_equals_one_process(path)


def test_a_run_resumes_bit_for_bit(ranks):
    for rank in ranks[0]:
        assert bits(rank["ddp resumed"]["path"]) == bits(rank["ddp"]["path"])


def test_the_comparison_can_fail():
    for other in (plain(rho=0.0), plain(adaptive=True), plain(rho=0.2 * (1 + 1e-6))):
        with pytest.raises(AssertionError, match="off by"):
            assert_equals_one_process(other)
    assert weights(build(Net().parameters())).shape == plain(steps=0)[0].shape
