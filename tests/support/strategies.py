"""Hypothesis strategies for certified problems, points and masks: parameters are drawn, objects are built from them.

Nothing is filtered or assumed; the edges (d = 1, one instance, kappa = 1, L and kappa at the ends, empty and full
masks) have a share of their own, and test_strategies.py shows that they are reached.
"""

import torch
from hypothesis import strategies as st

from validation import problems

MAX_DIM = 6
MAX_SIZE = 3
KAPPA = (1.0, 1e4)
LIPSCHITZ = (1e-3, 1e3)
RADIUS = (1e-6, 1e3)
CONVEX_LINKS = (problems.LOGCOSH, problems.LOGISTIC, problems.huber(0.3), problems.huber(2.0))
LINKS = (*CONVEX_LINKS, problems.COSINE, problems.WAVE)


def positive(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers from low to high, log-uniform or an end."""
    inner = st.floats(0.0, 1.0).map(lambda part: min(max(low * (high / low) ** part, low), high))
    return st.one_of(st.sampled_from([low, high]), inner)


@st.composite
def generators(draw) -> torch.Generator:
    """Seeded generators."""
    return torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))


@st.composite
def quadratics(draw, *, kinds=("strong", "diagonal", "isotropic", "indefinite"), max_dim=MAX_DIM) -> problems.Quadratic:
    """Batches of quadratics: one L and one kappa for all instances of a batch."""
    size, d = draw(st.integers(1, MAX_SIZE)), draw(st.integers(1, max_dim))
    kind, L, kappa = draw(st.sampled_from(kinds)), draw(positive(*LIPSCHITZ)), draw(positive(*KAPPA))
    return problems.quadratic(size, d, generator=draw(generators()), L=L, kappa=kappa, kind=kind)


@st.composite
def integer_quadratics(draw, *, max_dim=4) -> problems.Quadratic:
    """One positive definite quadratic with small integer entries, on which float64 makes no error: H = B^T B + I."""
    d = draw(st.integers(1, max_dim))
    entries = st.integers(-4, 4)
    B = torch.tensor(draw(st.lists(st.lists(entries, min_size=d, max_size=d), min_size=d, max_size=d)))
    center = torch.tensor([draw(st.lists(entries, min_size=d, max_size=d))], dtype=torch.float64)
    H = (B.T @ B + torch.eye(d, dtype=B.dtype)).double()
    return problems.Quadratic.of(H[None], center)


@st.composite
def least_squares(draw, *, max_dim=MAX_DIM) -> problems.LeastSquares:
    """Batches of least squares, fewer or more rows than columns."""
    size, m, d = draw(st.integers(1, MAX_SIZE)), draw(st.integers(1, max_dim)), draw(st.integers(1, max_dim))
    L, kappa = draw(positive(*LIPSCHITZ)), draw(positive(*KAPPA))
    return problems.least_squares(size, m, d, generator=draw(generators()), L=L, kappa=kappa)


@st.composite
def generalized(draw, *, links=LINKS, max_dim=MAX_DIM) -> problems.GeneralizedLinear:
    """Batches of generalized linear objectives, with a ridge or without."""
    size, n, d = draw(st.integers(1, MAX_SIZE)), draw(st.integers(1, max_dim)), draw(st.integers(1, max_dim))
    ridge = draw(st.one_of(st.just(0.0), positive(1e-3, 1.0)))
    weight = draw(positive(*LIPSCHITZ))
    return problems.generalized(
        size, n, d, link=draw(st.sampled_from(links)), generator=draw(generators()), weight=weight, ridge=ridge
    )


@st.composite
def deterministic(draw) -> problems.Problem:
    """Any of the problems above."""
    return draw(st.one_of(quadratics(), least_squares(), generalized()))


@st.composite
def row_sampled(draw) -> problems.RowSampled:
    """Finite sums whose samples are paired rows, one at a time or half of them."""
    size, n, d = draw(st.integers(1, MAX_SIZE)), draw(st.integers(1, 3)), draw(st.integers(1, MAX_DIM))
    link = draw(st.sampled_from([problems.LOGCOSH, problems.huber(0.3), problems.COSINE]))
    offset, ridge = draw(positive(1e-3, 1.5)), draw(st.one_of(st.just(0.0), positive(1e-3, 1.0)))
    batch = draw(st.sampled_from([1, n]))
    generator = draw(generators())
    return problems.paired_rows(size, n, d, link=link, generator=generator, offset=offset, ridge=ridge, batch=batch)


@st.composite
def sampled(draw) -> problems.Problem:
    """Finite sums: additive noise on any deterministic problem, or paired rows."""
    if draw(st.booleans()):
        return draw(row_sampled())
    level, samples = draw(positive(1e-3, 1e3)), 2 * draw(st.integers(1, 3))
    return problems.noisy(draw(deterministic()), generator=draw(generators()), samples=samples, level=level)


@st.composite
def any_problem(draw) -> problems.Problem:
    """Deterministic or sampled."""
    return draw(st.one_of(deterministic(), sampled()))


@st.composite
def masks(draw, problem: problems.Problem) -> torch.Tensor:
    """Masks (N, d) for a problem: each entry on its own, or all of them on, or all off."""
    count = problem.size * problem.dim
    bits = st.one_of(
        st.just([False] * count), st.just([True] * count), st.lists(st.booleans(), min_size=count, max_size=count)
    )
    return torch.tensor(draw(bits)).reshape(problem.size, problem.dim)


@st.composite
def points(draw, problem: problems.Problem) -> torch.Tensor:
    """One point (N, d) per instance, all at one distance from the center."""
    return problem.start(draw(generators()), draw(positive(*RADIUS)))
