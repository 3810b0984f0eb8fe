"""How much `s2sam validate` runs, at three sizes."""

from dataclasses import dataclass

H = (0.1, 0.5, 1.0, 1.5)
RHO = (0.01, 0.1, 0.3, 1.0)


@dataclass(frozen=True)
class Size:
    """How much is run.

    Attributes:
        instances: of a family.
        count: steps.
        horizons: the T at which claims about whole runs are read.
        real: starts on real data.
        schedule: longest of B2.
        seeds: repetitions of the sweep.
        paths: steps of the runs whose sample paths are enumerated.
        network: steps of full-batch training.
        orbits: runs for each step size in a round of the search for limits.
        restarts: random starts of each adversarial search; 0 for no search.
        widths: of the networks that are cast to half types.
        h: step sizes in units of 1/L.
        rho: radii; starts are at distance 1.
    """

    instances: int
    count: int
    horizons: tuple[int, ...]
    real: int
    schedule: int
    seeds: int
    paths: int
    network: int
    orbits: int
    restarts: int
    widths: tuple[int, ...]
    h: tuple[float, ...] = H
    rho: tuple[float, ...] = RHO


SIZES = {
    "quick": Size(
        instances=12,
        count=12,
        horizons=(1, 4, 12),
        real=2,
        schedule=300,
        seeds=1,
        paths=4,
        network=25,
        orbits=10,
        restarts=0,
        widths=(16, 64, 256),
        h=(0.5, 1.0),
        rho=(0.1, 1.0),
    ),
    "default": Size(
        instances=64,
        count=40,
        horizons=(1, 2, 4, 10, 40),
        real=4,
        schedule=3000,
        seeds=1,
        paths=5,
        network=100,
        orbits=60,
        restarts=10_000,
        widths=(16, 64, 256, 1024, 2048),
    ),
    "deep": Size(
        instances=1000,
        count=200,
        horizons=(1, 2, 3, 5, 10, 30, 100, 200),
        real=24,
        schedule=30000,
        seeds=5,
        paths=6,
        network=300,
        orbits=1000,
        restarts=100_000,
        widths=(16, 64, 256, 1024, 2048, 4096),
    ),
}
