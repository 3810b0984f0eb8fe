"""With its topology frozen, masked training by any method is S2-SAM on the restricted function f(m w), bit for bit.

What is proved for S2-SAM on a smooth function then holds for the sparse network: it is the full-shape run of an
optimizer that knows of no mask, started in the support, on the function that multiplies each weight by its mask.
"""

import pytest
from method_table import METHODS, advanced
from sparse_checks import BASES, WRAPS, assert_restricted_run, network


def frozen(name, seed=0):
    model = network(seed)
    sparse = advanced(name, model)
    sparse._due = lambda step: False
    return model, sparse


@pytest.mark.parametrize("base", ["momentum", "adam"])
@pytest.mark.parametrize("name", METHODS)
def test_a_frozen_topology_is_the_restricted_function(name, base):
    model, sparse = frozen(name)
    assert sum(int((~m).sum()) for m in sparse.masks.values()) > 100  # something is restricted
    assert_restricted_run(sparse, model, lambda p: WRAPS["s2sam"](BASES[base](p)), steps=5)
