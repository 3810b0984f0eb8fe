"""What a stale direction keeps: its cosines to the gradients that others would use, and what sampling noise predicts.

At step t S2-SAM perturbs along g = grad f_U(y), U the batch used in the step before and y the point at which it was;
SAM on the same batch would take a = grad f_B(w), B the batch of step t; the true direction is F = grad f(w). Three
things separate g from a: another batch, weights moved by a step, and the point y instead of the weights before.

Noise alone. If a batch's gradient is F plus noise of mean square r ||F||^2 that is isotropic and independent, then with
many weights <noise, F> is small beside ||F||^2 and, k being the cosine of the two true gradients and c the correlation
of the two noises,

    cos(g1, g2) = (k + c sqrt(r1 r2))/sqrt((1 + r1)(1 + r2)),

so cos(batch, full) = 1/sqrt(1 + r) and cos(two independent batches) = 1/(1 + r). With V the variance of one sample's
gradient and B of n samples drawn with replacement, r = V/(B ||F||^2) and c = 0. Without replacement r shrinks by
(n - B)/(n - 1), and two batches of one epoch have c = -B/(n - B): where F vanishes, their cosine is -B/(n - B), not 0.

Reaction. The step along g moves F by -eta H g, so F now opposes the noise that was in g. For f = (L/2)||w||^2 without
momentum or perturbation, h = eta L,

    cos(g, F after the step) = (1 - h (1 + r))/sqrt((1 + r)((1 - h)^2 + h^2 r)),

negative as soon as h (1 + r) > 1. `measured` splits g into true gradient and noise, so that this part stands alone.
Source: this project; the covariance of sampling without replacement is Cochran (1977, Sections 2.5 and 2.9).
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class Oracle(Protocol):
    """A finite sum: f the mean of n sample losses. Gradients are (d,) float64."""

    def full(self, w: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
        """Return grad f(w)."""
        ...

    def batch(self, w: Float[Tensor, " d"], index: Int[Tensor, " b"]) -> Float[Tensor, " d"]:
        """Return the mean gradient of these samples at w."""
        ...

    def variance(self, w: Float[Tensor, " d"]) -> float:
        """Return the mean over all samples of ||sample gradient - grad f||^2 at w."""
        ...


@dataclass(frozen=True)
class Sampling:
    """How batches are drawn: B of n samples, afresh for each step with replacement, or in epochs without.

    Attributes:
        n: samples. batch: samples of a step. replacement: whether a sample may come again before all have come.
    """

    n: int
    batch: int
    replacement: bool

    def noise(self, variance: float) -> float:
        """Return the mean square of a batch gradient's noise, given the variance of one sample's.

        >>> Sampling(100, 10, True).noise(5.0), round(Sampling(100, 10, False).noise(5.0), 4)
        (0.5, 0.4545)
        """
        return variance / self.batch * (1 if self.replacement else (self.n - self.batch) / (self.n - 1))

    def correlation(self, joint: bool) -> float:
        """Return the correlation of the noises of two batches; `joint`: whether they are of one epoch.

        >>> Sampling(100, 20, False).correlation(True), Sampling(100, 20, False).correlation(False)
        (-0.25, 0.0)
        """
        return -self.batch / (self.n - self.batch) if joint and not self.replacement else 0.0


@dataclass(frozen=True)
class Moment:
    """A step of a run at which directions are compared.

    Attributes:
        w: the weights. before: those of the step before. y: where the step before took its gradient; all (d,).
        stale: that gradient as the optimizer holds it, (d,).
        batch: the samples of this step. used: of the step before. fresh: drawn alike, unknown to the run; all (b,).
        joint: whether batch and used are of one epoch.
    """

    w: Float[Tensor, " d"]
    before: Float[Tensor, " d"]
    y: Float[Tensor, " d"]
    stale: Float[Tensor, " d"]
    batch: Int[Tensor, " b"]
    used: Int[Tensor, " b"]
    fresh: Int[Tensor, " b"]
    joint: bool


def predicted(r: float, s: float = 0.0, kept: float = 1.0, correlation: float = 0.0) -> float:
    """Return the cosine of two gradients with isotropic noise: the first formula above.

    Args:
        r: mean square noise of one, in units of its true gradient's square.
        s: of the other; 0 for a gradient without noise.
        kept: cosine of the two true gradients.
        correlation: of the two noises.

    >>> predicted(3.0), predicted(3.0, 3.0), predicted(1e12, 1e12, correlation=-0.25)
    (0.5, 0.25, -0.24999999999...)
    """
    return (kept + correlation * math.sqrt(r * s)) / math.sqrt((1 + r) * (1 + s))


def cosine(u: Float[Tensor, " d"], v: Float[Tensor, " d"]) -> float:
    """Return the cosine of two vectors; 0 when one of them is 0, which has no direction."""
    size = float(u.norm() * v.norm())
    return float(u @ v) / size if size else 0.0


def measured(oracle: Oracle, m: Moment, sampling: Sampling) -> dict[str, float]:
    """Return the cosines at one step, by name, with their parts and predictions.

    stale_batch, stale_full, batch_full: of S2-SAM's direction to SAM's and to F, and of SAM's to F. From SAM's towards
    S2-SAM's, each to SAM's: fresh_batch (another batch), used_batch (the batch that made the step), before_batch (at
    the weights before it), and last stale_batch itself (at y). From noise alone towards stale_full: at_y, at_before,
    the cosine of g to the true gradient at y and at the weights before. kept: cosine of the true gradients at y and w.
    Parts that add up to stale_full: signal (true gradient at y) and reaction (noise of g); to stale_batch:
    batch_signal, batch_reaction (noise of g with F), batch_sampled (noise of a with g's true gradient), batch_common
    (noise with noise). noise_full, noise_batch, noise_stale_full, noise_stale_batch: predictions of batch_full,
    fresh_batch, stale_full, stale_batch, the last two given `kept`. log10_r: of r at w. V is that at w for both points.
    """
    F, F_before, F_y = (oracle.full(point) for point in (m.w, m.before, m.y))
    a, fresh, used = (oracle.batch(m.w, index) for index in (m.batch, m.fresh, m.used))
    g, noise, error = m.stale, m.stale - F_y, a - F
    energy, c = sampling.noise(oracle.variance(m.w)), sampling.correlation(m.joint)
    r, r_y = (energy / max(float(x @ x), math.ulp(0.0)) for x in (F, F_y))
    kept = cosine(F_y, F)
    to_full, to_batch = (max(float(g.norm() * x.norm()), math.ulp(0.0)) for x in (F, a))
    return {
        "stale_batch": cosine(g, a),
        "stale_full": cosine(g, F),
        "batch_full": cosine(a, F),
        "fresh_batch": cosine(fresh, a),
        "used_batch": cosine(used, a),
        "before_batch": cosine(oracle.batch(m.before, m.used), a),
        "at_y": cosine(g, F_y),
        "at_before": cosine(g, F_before),
        "kept": kept,
        "signal": float(F_y @ F) / to_full,
        "reaction": float(noise @ F) / to_full,
        "batch_signal": float(F_y @ F) / to_batch,
        "batch_reaction": float(noise @ F) / to_batch,
        "batch_sampled": float(F_y @ error) / to_batch,
        "batch_common": float(noise @ error) / to_batch,
        "noise_full": predicted(r),
        "noise_batch": predicted(r, r),
        "noise_stale_full": predicted(r_y, kept=kept),
        "noise_stale_batch": predicted(r_y, r, kept, c),
        "log10_r": math.log10(max(r, math.ulp(0.0))),
    }
