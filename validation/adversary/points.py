"""Points: free real numbers behind a batch of trials, so that a search may move them anywhere."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from validation.adversary.spaces import SPACES, Space
from validation.adversary.trials import Question, Trial
from validation.step import scale

REACH, RADIUS = 2.0, 1.5  # starts at up to 10^2 times a normal vector, radii from 10^-1.5 to 10^1.5
LEAST = 48  # points of a batch


@dataclass(frozen=True)
class Points:
    """N free points of a space in dimension d: any real numbers `theta` (N, k) make a Trial.

    `cap` (N,) is the largest step h of a point, kept fixed; `fixed` holds h and rho where the caller sets them.
    """

    space: Space
    d: int
    theta: Tensor
    cap: Tensor
    draws: Tensor | None
    fixed: dict[str, float]

    @classmethod
    def random(
        cls, space: Space, d: int, size: int, question: Question, generator: torch.Generator, fixed: dict[str, float]
    ) -> "Points":
        """Draw N normal points; half of them may take steps up to 1/L, half up to 2/L; the h of some is at its end.

        Momentum makes all steps smaller by (1 - beta)^2/(1 + beta), which is where B9 ends.
        """
        width = sum(torch.Size(s).numel() for s in space.shapes(d).values()) + d + 3
        theta = torch.randn(size, width, generator=generator, dtype=torch.float64)
        theta[::4, -2] = torch.pi / 2
        cap = (1.0 + torch.arange(size) % 2) * (1 - question.beta) ** 2 / (1 + question.beta)
        draws = torch.randint(2, (question.count, size), generator=generator)
        sampled = space.build(**space.squash(_unpacked(space, d, theta[:1])[0])).samples > 1
        return cls(space, d, theta, cap, draws if sampled else None, fixed)

    def at(self, theta: Tensor) -> "Points":
        """Return the same points moved to theta; a single one is copied to every row of theta."""
        if len(theta) == len(self.theta):
            return replace(self, theta=theta)
        draws = None if self.draws is None else self.draws.expand(-1, len(theta))
        return replace(self, theta=theta, cap=self.cap.expand(len(theta)), draws=draws)

    def take(self, index: Tensor) -> "Points":
        """Return the points of that index."""
        draws = None if self.draws is None else self.draws[:, index]
        return replace(self, theta=self.theta[index], cap=self.cap[index], draws=draws)

    def trial(self) -> Trial:
        """Return what the points stand for, differentiable in theta."""
        free, start, (reach, step, radius) = _unpacked(self.space, self.d, self.theta)
        like = torch.zeros_like(reach)
        h = like + self.fixed["h"] if "h" in self.fixed else self.cap * step.sin().square()
        rho = like + self.fixed["rho"] if "rho" in self.fixed else 10 ** (RADIUS * radius.sin())
        data = self.space.squash(free)
        return Trial(self.space, data, scale(10 ** (REACH * reach.sin()), start), h, rho, self.draws)


def _unpacked(space: Space, d: int, theta: Tensor) -> tuple[dict[str, Tensor], Tensor, Sequence[Tensor]]:
    free, at = {}, 0
    for name, shape in space.shapes(d).items():
        length = torch.Size(shape).numel()
        free[name], at = theta[:, at : at + length].reshape(len(theta), *shape), at + length
    return free, theta[:, at : at + d], theta[:, at + d :].unbind(1)


def restarts(
    question: Question,
    families: Sequence[str | Space] | None,
    dimensions: Sequence[int],
    total: int,
    generator: torch.Generator,
    fixed: dict[str, float],
) -> Iterator[Points]:
    """Yield random points of each space and dimension that the claim speaks of, `total` of them in all."""
    spaces = [SPACES[f] if isinstance(f, str) else f for f in (SPACES if families is None else families)]
    allowed = []
    for space in spaces:
        for d in dimensions:
            if d < space.least:
                continue
            sample = Points.random(space, d, LEAST, question, generator, {}).trial().problem()
            if question.measure.applies(sample):
                allowed.append((space, d, sample.samples))
    if question.measure.per_step and any(s == 1 for *_, s in allowed):  # samples add nothing but their draws
        allowed = [(space, d, s) for space, d, s in allowed if s == 1]
    for space, d, _ in allowed:
        yield Points.random(space, d, max(LEAST, total // len(allowed)), question, generator, fixed)
