"""Sparse training: who keeps which weights, around any torch optimizer, S2SAM and SAM included.

Build a method on a model, `attach` it to the optimizer, train as ever, and `finalize` it: see `Controller`.
"""

from s2sam.sparse.chase import Chase
from s2sam.sparse.chex import CHEX
from s2sam.sparse.controller import Controller
from s2sam.sparse.distributions import erdos_renyi, erk, uniform
from s2sam.sparse.dynamic import DSR, MEST, SET, RigL
from s2sam.sparse.flops import flops
from s2sam.sparse.iterative import LRR, LotteryTicket
from s2sam.sparse.shrink import shrink
from s2sam.sparse.static import SNIP, GraSP, RandomMask

__all__ = ["CHEX", "DSR", "LRR", "MEST", "SET", "SNIP", "Chase", "Controller", "GraSP", "LotteryTicket", "RandomMask"]
__all__ += ["RigL", "erdos_renyi", "erk", "flops", "shrink", "uniform"]
