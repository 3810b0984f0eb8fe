"""What it means for a problem to be certified: one check per field, by means that share nothing with its
construction.

Gradients and Hessians come from autodiff, eigenvalues from LAPACK, expectations from enumeration, exact values from
50 digits. Every tolerance is gamma_k times the size of the terms; test_problems.py shows that wrong constants do not
pass.
"""

import mpmath
import numpy as np
import torch

from validation.arrays import exact

U = 2.0**-53


def gamma(k):
    """Bound of the relative error of k roundings."""
    return k * U / (1 - k * U)


def dist(problem, w):
    return (w - problem.center).norm(dim=-1)


def scale_L(problem):
    """L of the terms that are summed: of the whole problem, if restricted."""
    return problem.L.maximum(getattr(problem, "parent", problem).L)


def grad_error(problem, w):
    """Bound of the rounding error of one evaluation of the gradient at w, (N,).

    At most 2 width + 16 roundings behind each entry. The sizes of the terms, sum_j weight_j |phi'| ||x_j||, add up to
    at most d L ||w - c|| if phi'(0) = 0, since |phi'(z)| <= curvature |z| and sum_j weight_j ||x_j||^2 <= d
    L/curvature; else to 2 sqrt(d L f_noise) more, by Cauchy-Schwarz with sum_j weight_j <= f_noise and curvature >=
    1/4. Samples with shifts add sqrt(S sigma2), their largest norm; a center off the support, d L ||lost|| <= sqrt(d
    L f_noise).
    """
    d, L = problem.dim, scale_L(problem)
    shift = (problem.samples * problem.sigma2).sqrt()
    return gamma(2 * problem.width + 16) * (d * L * dist(problem, w) + 2 * (d * L * problem.f_noise).sqrt() + shift)


def autograd(problem, w):
    x = w.clone().requires_grad_()
    (g,) = torch.autograd.grad(problem.f(x).sum(), x)
    return g


def hessian(problem, w):
    """Hessians (N, d, d): autodiff of grad, not twice of f, whose |z| has a kink at 0; one row per pass, all instances.

    The gradient of one instance does not depend on the others' w.
    """
    x = w.clone().requires_grad_()
    g = problem.grad(x)
    columns = [torch.autograd.grad(g[:, k].sum(), x, retain_graph=True)[0] for k in range(problem.dim)]
    return torch.stack(columns, 1)


def check_gradient(problem, w):
    error = (autograd(problem, w) - problem.grad(w)).norm(dim=-1)
    assert bool((error <= 2 * grad_error(problem, w)).all()), f"gradient is off by {error.max():g}"


def check_curvature(problem, w):
    """Every eigenvalue of the Hessian on the support lies in [mu, L].

    Rounding: 2 width + 16 operations on entries of size <= L each, d of them in a row, and LAPACK's backward error,
    for which p(d) = 4 d (d + 3) is allowed, as for the enclosure that widened L and mu.
    """
    H = hessian(problem, w)
    masks = getattr(problem, "mask", torch.ones_like(w, dtype=torch.bool))
    for i in range(problem.size):
        on = masks[i]
        if not bool(on.any()):
            continue
        block = H[i][on][:, on]
        lam = torch.linalg.eigvalsh((block + block.T) / 2)
        d, size = problem.dim, float(scale_L(problem)[i])
        slack = (d * gamma(2 * problem.width + 16) + 8 * d * (d + 3) * U) * size
        L, mu = float(problem.L[i]), float(problem.mu[i])
        assert float(lam.max()) <= L + slack, f"curvature {lam.max():.17g} exceeds L = {L:.17g}"
        assert float(lam.min()) >= mu - slack, f"curvature {lam.min():.17g} is below mu = {mu:.17g}"


def check_secants(problem, v, w):
    """The gradient is L-Lipschitz, and mu-strongly monotone, between any two points, up to rounding."""
    change, step = problem.grad(v) - problem.grad(w), v - w
    size, error = step.norm(dim=-1), grad_error(problem, v) + grad_error(problem, w)
    slack = error + gamma(problem.dim + 8) * (problem.L * size + change.norm(dim=-1))
    assert bool((change.norm(dim=-1) <= problem.L * size + slack).all()), "the gradient changes by over L times a step"
    product = (change * step).sum(-1)
    assert bool((product >= problem.mu * size**2 - slack * size).all()), "gradient is not mu-monotone"


def check_minimum(problem, w):
    """f_star is attained at w_star and never undercut, from w on by gradient descent either."""
    known = ~problem.f_star.isnan()
    if problem.w_star is None:
        assert not bool(known.any()), "a minimum without a minimiser"
        return
    assert torch.equal(problem.w_star.isnan().any(-1), ~known), "f_star and w_star must be known together"
    star = torch.where(known[:, None], problem.w_star, 0.0)
    doubt = problem.certificate + problem.f_error(star)
    assert bool(((problem.f(star) - problem.f_star).abs() <= doubt)[known].all()), "f(w_star) is not f_star"
    slope = problem.grad(star).norm(dim=-1)
    assert bool((slope <= (2 * problem.L * problem.certificate).sqrt() + grad_error(problem, star))[known].all())
    for _ in range(50):
        room = problem.f_error(w) + problem.certificate
        assert bool((problem.f(w) >= problem.f_star - room)[known].all()), "f falls below f_star"
        w = w - problem.grad(w) / problem.L[:, None]


def check_pl(problem, w):
    """The Polyak-Lojasiewicz inequality holds at w, up to the rounding of both sides."""
    active = (problem.pl > 0) & ~problem.f_star.isnan()
    g = problem.grad(w).norm(dim=-1)
    error = grad_error(problem, w)
    slack = (2 * g + error) * error + 2 * problem.pl * (problem.f_error(w) + problem.certificate) + gamma(8) * g**2
    holds = g**2 + slack >= 2 * problem.pl * (problem.f(w) - problem.f_star)
    assert bool(holds[active].all()), "the PL inequality fails"


def check_samples(problem, v, w):
    """Samples average to the gradient, vary by at most sigma2, and are L_sample-smooth; index and enumeration agree."""
    S = problem.samples
    at_v, at_w = problem.sample_grads(v), problem.sample_grads(w)
    assert at_w.shape == (problem.size, S, problem.dim)
    each = S * grad_error(problem, w)  # a sample's terms are at most S times those of the mean
    mean = (at_w.mean(1) - problem.grad(w)).norm(dim=-1)
    assert bool((mean <= 2 * each + gamma(S) * at_w.norm(dim=-1).amax(1)).all()), f"biased by {mean.max():g}"
    variance = ((at_w - problem.grad(w)[:, None]) ** 2).sum(-1).mean(1)
    slack = 4 * each * (variance.sqrt() + each) + gamma(S + problem.dim + 8) * variance
    assert bool((variance <= problem.sigma2 + slack).all()), f"variance {variance} exceeds sigma2 = {problem.sigma2}"
    step = (v - w).norm(dim=-1)
    change = (at_v - at_w).norm(dim=-1).amax(1)
    slack = each + S * grad_error(problem, v) + gamma(problem.dim + 8) * problem.L_sample * step
    assert bool((change <= problem.L_sample * step + slack).all()), "a sample is not L_sample-smooth"
    for k in {0, S // 2, S - 1}:
        one = problem.sample_grad(w, torch.full((problem.size,), k))
        assert bool(((one - at_w[:, k]).norm(dim=-1) <= 2 * each).all()), "sample_grad differs from sample_grads"


def check_instance(problem, w, i=0):
    """Instance i in 50 digits agrees with the batch up to the batch's rounding, samples included."""
    with mpmath.workdps(50):
        one, at = problem.instance(i, mpmath.mpf), exact(w[i], mpmath.mpf)
        f, g = one.f(at), one.grad(at)
        drawn = one.sample_grad(at, problem.samples - 1)
        assert isinstance(f, mpmath.mpf)
        assert abs(f - float(problem.f(w)[i])) <= float(problem.f_error(w)[i]), "f differs from 50 digits"
        rounding = float(grad_error(problem, w)[i])
        assert _distance(g, problem.grad(w)[i]) <= rounding, "grad differs from 50 digits"
        index = torch.full((problem.size,), problem.samples - 1)
        assert _distance(drawn, problem.sample_grad(w, index)[i]) <= problem.samples * rounding, "sample_grad differs"
        assert np.shape(one.sample_grads(at)) == (problem.samples, problem.dim)


def _distance(exact_vector, tensor):
    return mpmath.sqrt(sum((a - float(b)) ** 2 for a, b in zip(exact_vector, tensor, strict=True)))


def check_all(problem, v, w):
    """Every check, at v, w and the center."""
    assert bool((problem.mu <= problem.L).all())
    assert bool((problem.pl >= problem.mu).all())
    for x in (v, w):
        check_gradient(problem, x)
        check_minimum(problem, x)
        check_pl(problem, x)
        check_curvature(problem, x)
    check_curvature(problem, problem.center)
    check_secants(problem, v, w)
    check_samples(problem, v, w)
    check_instance(problem, w)
