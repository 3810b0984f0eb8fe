"""Certificates of B2: the claims' right sides against B1's and B2.anytime's, and the sums of the schedules."""

from theory.arithmetic import Number
from theory.bounds.convergence import nonconvex
from theory.bounds.rates import anytime as any_steps
from theory.certificates.algebra import dot, nonnegatives, positives, reals, vectors
from theory.certificates.book import certificate
from theory.certificates.descent import step_terms, unit_step
from theory.certificates.error import Identities
from theory.certificates.proof import Identity, Range, Square, Term
from theory.requirements import Formula


@certificate("B2.fixed")
def fixed(bound: Formula) -> Identities:
    """The claim's right side minus B1's at its step, in the two cases of eta = min(1/L, c/sqrt(T))."""
    L, r, rho0 = positives("L r rho0")  # r = sqrt(T)
    gap, sigma2, x = nonnegatives("Delta sigma2 x")
    T, c = r**2, positives("c")
    rate = bound(L=L, gap=gap, T=T, rho0=rho0, c=c, sigma2=sigma2)
    b1 = lambda eta: nonconvex(eta=eta, L=L, gap=gap, T=T, P2=rho0**2 / r, sigma2=sigma2)  # noqa: E731
    long = Range("1/L <= c/sqrt(T)", ((c, r / L * (1 + x)),), ((x, c * L / r - 1),))
    gaps = Term("decrease", 2 / (c * r), gap, "Delta >= 0")
    noise = Term("variance", c * L / r - 1, sigma2, "a variance")
    return (
        Identity("eta = 1/L", rate - b1(1 / L), (gaps, noise), range=long),
        Identity("eta = c/sqrt(T)", rate - b1(c / r), (Term("decrease", 2 * L / T, gap, "Delta >= 0"),)),
    )


@certificate("B2.anytime")
def anytime(bound: Formula) -> Identities:
    """A step of its own eta; the sums add up, and the claim times sum_eta is linear in all of them."""
    eta, L, E = positives("eta L S")
    a, b, p = vectors("a b p")
    f, f_next, gap, more = reals("f f' G g")
    sigma2, P, S2 = nonnegatives("sigma2 P S_2")
    one = lambda gap: bound(L=L, gap=gap, sigma2=sigma2, sum_eta=eta, sum_eta_p2=eta * dot(p, p), sum_eta2=eta**2)  # noqa: E731
    before = bound(L=L, gap=gap, sigma2=sigma2, sum_eta=E, sum_eta_p2=P, sum_eta2=S2)
    after = bound(L=L, gap=gap + more, sigma2=sigma2, sum_eta=E + eta, sum_eta_p2=P + eta * dot(p, p),
                  sum_eta2=S2 + eta**2)
    return (
        Identity("one step times eta", eta * (one(f - f_next) - dot(a, a)), step_terms(eta, L, by=eta),
                 (Square(eta * (1 - eta * L), b),), unit_step(eta, L)),
        Identity("the sum over the steps", (E + eta) * after - E * before - eta * one(more)),
    )


def _schedule(bound: Formula, perturbation: Number, slack: str) -> tuple[Identity, Identity, Identity]:
    """The claim minus B2.anytime at the realised sums; the two sums of the steps, by induction.

    T = q (q + 2), so that sqrt(T + 1) = 1 + q, and l = ln T. `perturbation` bounds sum_{t>=1} eta_t rho_t^2/(eta0
    rho0^2).
    """
    import sympy

    L, eta0, rho0, q, E = positives("L eta0 rho0 q S")
    gap, sigma2, P, S2, ell = nonnegatives("Delta sigma2 P S_2 l")
    T = (1 + q) ** 2 - 1
    value = bound(L=L, gap=gap, sigma2=sigma2, eta0=eta0, rho0=rho0, T=T).subs(sympy.log(T), ell)
    realised = any_steps(L=L, gap=gap, sigma2=sigma2, sum_eta=E, sum_eta_p2=P, sum_eta2=S2)
    low, high, high2 = 2 * eta0 * q, eta0 * rho0**2 * perturbation, eta0**2 * (1 + ell)
    top = 2 * gap + L**2 * high + L * sigma2 * high2
    terms = (Term("sum of eta", top / (low * E), E - low, "shown below"),
             Term("sum of eta p^2", L**2 / E, high - P, slack),
             Term("sum of eta^2", L * sigma2 / E, high2 - S2, "shown below"))
    r, n = positives("r n")
    more = sympy.sqrt(r**2 + 1) - r
    # sum eta_t >= 2 eta0 (sqrt(T + 1) - 1): both are 0 at T = 0; the next term 1/r, r = sqrt(T + 1), exceeds 2 more
    roots = Identity("the sum of eta, next term", 1 / r - 2 * more, squares=(Square(1 / r, more),))
    # sum 1/k <= 1 + ln T, and <= ln T from k = 2: equal at T = 1; the next term 1/(n + 1) is below ln(n + 1) - ln n
    grows = sympy.log(n + 1) - sympy.log(n)
    log = Term("log", 1, n / (n + 1) - 1 + grows, "ln y <= y - 1 at y = n/(n + 1)")
    harmonic = Identity("the sums of 1/k, next term", grows - 1 / (n + 1), (log,))
    return Identity("B2.anytime at the schedule", value - realised, terms), roots, harmonic


@certificate("B2.quarter")
def quarter(bound: Formula) -> Identities:
    """rho_t = rho0 (t + 1)^(-1/4): sum_{t>=1} eta_t rho_t^2 = eta0 rho0^2 sum_{k=2}^T 1/k."""
    return _schedule(bound, nonnegatives("l"), "shown below")


@certificate("B2.half")
def half(bound: Formula) -> Identities:
    """rho_t = rho0/sqrt(t + 1): sum k^(-3/2) over k >= 2, ten terms as they are and the rest by telescoping.

    k^(-3/2) <= 2/sqrt(k - 1/2) - 2/sqrt(k + 1/2), squared, with p = sqrt(k - 1/2), q = sqrt(k + 1/2), q - p = 1/(p +
    q), k = (p^2 + q^2)/2; multiplied by k^3 p^2 q^2 (p + q)^2.
    """
    import sympy

    number = sympy.Rational(1613, 1000)
    p, q = positives("p q")
    k = (p**2 + q**2) / 2
    weight = k * (k + p * q) + k**2 + k * p * q + p**2 * q**2
    head = sum(sympy.Integer(j) ** sympy.Rational(-3, 2) for j in range(2, 11))
    total = number - head - 2 / sympy.sqrt(sympy.Rational(21, 2))
    return (
        *_schedule(bound, number, "shown below"),
        Identity("the terms from k = 11, squared", 4 * k**3 - p**2 * q**2 * (p + q) ** 2,
                 squares=(Square(weight, q - p),)),
        Identity("1.613 exceeds ten terms and the rest", total, (Term("a number", 1, total, "1.613 is large enough"),)),
    )
