"""Right-hand sides of the claims; importing this registers them all.

`error` (A), `convergence`, `lower_bounded`, `limits`, `momentum` and `orbits` (B), `pac_bayes` (C). Every bound takes
keywords only, uses + - * / **, integer literals and `theory.arithmetic`, and checks nothing, so that it runs on
numbers, arrays, tensors and symbols alike. Give the constants of one call in one arithmetic; the whole numbers T and N
may be Python integers in any.
"""

from theory.bounds import convergence as convergence
from theory.bounds import error as error
from theory.bounds import limits as limits
from theory.bounds import lower_bounded as lower_bounded
from theory.bounds import momentum as momentum
from theory.bounds import orbits as orbits
from theory.bounds import pac_bayes as pac_bayes

__all__ = ["convergence", "error", "limits", "lower_bounded", "momentum", "orbits", "pac_bayes"]
