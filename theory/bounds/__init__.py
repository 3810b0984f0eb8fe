"""Right-hand sides of the claims: `error` (A), `convergence` and `limits` (B); importing this registers them all.

Every bound takes keywords only, uses + - * / **, integer literals and `theory.arithmetic`, and checks nothing, so
that it runs on numbers, arrays, tensors and symbols alike. Give the constants of one call in one arithmetic; the
whole numbers T and N may be Python integers in any.
"""

from theory.bounds import convergence as convergence
from theory.bounds import error as error
from theory.bounds import limits as limits

__all__ = ["convergence", "error", "limits"]
