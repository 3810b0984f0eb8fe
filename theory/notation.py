r"""The one table of symbols: one letter, one meaning, in text and in code.

Further letters inside a proof are local to it.

| symbol | code | meaning | domain |
|---|---|---|---|
| f, f* | `f`, `f_star` | objective, and a lower bound of it (the minimum, where a statement says so) | f >= f* |
| L | `L` | smoothness constant of f: its gradient is L-Lipschitz | L > 0 |
| mu | `mu` | strong-convexity or Polyak-Lojasiewicz constant; kappa = L/mu | 0 < mu <= L |
| sigma^2 | `sigma2` | bound of the variance of the stochastic gradient around grad f, at every point | >= 0 |
| eta_t | `eta` | step size of step t; without index, of every step | > 0 |
| eta_0 | `eta0` | scale of a schedule of step sizes, its largest step | 0 < eta0 <= 1/L |
| rho_t | `rho` | perturbation radius of step t, in the unit of w; without index, of every step | >= 0 |
| rho0 | `rho0` | scale of a schedule of radii | >= 0 |
| T | `T` | number of steps, t = 0, ..., T - 1 | whole, >= 1 |
| c | `c` | scale of the step size c/sqrt(T) for a known horizon | > 0 |
| h | `h` | eta L, the step in units of the largest curvature | > 0 |
| m | `m` | eta mu, the step in units of the smallest curvature | 0 < m <= h |
| w_t | `w` | the weights: what is kept, evaluated, saved | vector |
| p_t | `p` | the perturbation, of norm at most rho_t | vector |
| y_t | `y` | w_t + p_t, the perturbed weights, where the gradient of a step is computed | vector |
| g_t | `g` | gradient, stochastic or exact, computed at y_t | vector |
| n(x) | `normalize` | x divided by its norm, and 0 for x = 0 | norm 1 or 0 |
| d_t | `d` | n(g_t), the direction that S2-SAM keeps for the next step; d_{-1} = 0 | norm 1 or 0 |
| Delta | `gap` | f(w_0) - f*, or the sharper measured f(w_0) - E f(w_T) where a statement admits it | real |
| P^2 | `P2` | mean over t of the squared norm of p_t, as realised; in B4 the sequence over t | >= 0 |
| R2 | `R2` | squared distance of w_0 from the minimiser w*, in B3 less that of w_T if measured | real |
| w_0 | `w0` | starting weight in one dimension | > 0 |
| \|\|a - b\|\| | `diff` | distance of two gradients, a = grad f(w_t) and b = g_{t-1} | >= 0 |
| \|\|a\|\| | `norm_a` | norm of a = grad f(w_t) | >= 0 |
| \|\|b\|\| | `norm_b` | norm of b = g_{t-1} | >= 0 |
| \|\|g_{t-1}\|\| | `norm_g` | norm of the gradient of the step before | >= 0 |
| \|\|p_{t-1}\|\| | `norm_p` | norm of the perturbation of the step before | >= 0 |
| \|\|p_t^S2 - p_t^SAM\|\| | `diff_p` | distance of the perturbations of S2-SAM and SAM at one w_t | >= 0 |
| sum_t eta_t | `sum_eta` | sum of the step sizes | > 0 |
| sum_t eta_t \|\|p_t\|\|^2 | `sum_eta_p2` | sum of the mean squared perturbations times eta_t | >= 0 |
| sum_t eta_t^2 | `sum_eta2` | sum of the squared step sizes | > 0 |
| N | `N` | number of samples | whole, >= 1 |
| E sum_k delta_k | `jumps` | expected sum of the jumps of f where a mask changes | real |
| v_t | `v` | momentum buffer, v_t = beta v_{t-1} + g_t with v_{-1} = 0; w_{t+1} = w_t - eta v_t | vector |
| beta | `beta` | momentum, 0 where nothing is said of it | 0 <= beta < 1 |
| alpha | `alpha` | eta/(1 - beta), the effective step under momentum | > 0 |
| z_t | `z` | w_t - (eta beta/(1 - beta)) v_{t-1}, the point that steps by -alpha g_t | vector |
| H | `H` | Hessian of a quadratic | symmetric |
| q | `q` | modulus of the second largest eigenvalue of H over the largest, L, which is simple | 0 <= q < 1 |
| C | `C` | modulus of <xi, d_t>, xi the unit eigenvector of L, at one step | 0 <= C <= 1 |
| W | `W` | squared norm of w_0 over rho^2 | >= 0 |
| area | `area` | area of the parallelogram of w_0/rho and the first direction d_{-1} | > 0 |
| loss | `loss` | mean 0-1 loss on the sample: largest within rho (C1), mean over draws of the noise (C1') | 0 to 1 |
| n | `n` | number of independent examples in the sample | whole |
| k | `k` | number of weights | whole, >= 1 |
| \|\|w\|\|^2 | `norm2` | squared norm of the weights | >= 0 |
| \|\|w - w_0\|\|^2 | `dist2` | squared distance of the weights from those of the prior | >= 0 |
| s | `s` | standard deviation of the noise on each weight | > 0 |
| J | `J` | number of standard deviations in a grid fixed in advance | whole, >= 1 |
| log M | `masks` | logarithm of the number of masks that the sample could have chosen; 0 if it chose none | >= 0 |
| K | `draws` | number of draws of the noise | whole, >= 1 |
| delta | `delta` | probability with which the sample misleads a PAC bound | 0 < delta < 1 |
| delta' | `delta2` | probability with which the draws of the noise mislead it | 0 < delta' < 1 |

S2-SAM: d_{-1} = 0; y_t = w_t + rho_t d_{t-1}; g_t = grad(y_t); w_{t+1} = w_t - eta_t g_t; d_t = n(g_t). SAM has
n(grad(w_t)) in place of d_{t-1}, two gradients a step. With masks, every gradient is masked first. So S2-SAM has
p_0 = 0, and p_t = 0 after a zero gradient.
Of d_{-1} = 0 there is one exception, B10.isotropic, whose run is given a first direction.

Source: Ji et al. (NeurIPS 2024) for S2-SAM, Foret et al. (ICLR 2021) for SAM.
"""

import re
from dataclasses import dataclass

__all__ = ["NOTATION", "Symbol"]


@dataclass(frozen=True)
class Symbol:
    """One row of the table: the symbol in text, its names in code, its meaning and its domain."""

    symbol: str
    code: str
    meaning: str
    domain: str


def _rows(table: str) -> tuple[Symbol, ...]:
    """The rows of the table in this module's docstring, which is thereby the only copy."""
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return tuple(Symbol(a.replace("\\|", "|"), b.replace("`", ""), c, d) for a, b, c, d in cells)


NOTATION: tuple[Symbol, ...] = _rows(__doc__ or "")
"""The table as values; `code` names a keyword of a bound, or several separated by ", "."""
