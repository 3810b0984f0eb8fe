"""Sparse training: who keeps which weights, for any torch optimizer, S2SAM and SAM included."""

from s2sam.sparse.distributions import erdos_renyi, erk, uniform

__all__ = ["erdos_renyi", "erk", "uniform"]
