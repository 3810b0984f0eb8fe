"""The statements: claims about S2-SAM and SAM with constants, domain, proof and source, for any kind of number.

`CLAIMS` holds them by label, with the findings of the paper's experiments (D), which have no bound; calling any other
claim checks its domain and evaluates its bound:

>>> from theory import CLAIMS, select
>>> [claim.label for claim in select("B5")]
['B5.s2sam', 'B5.sam', 'B5.lower']
>>> CLAIMS["B5.sam"](L=1, h=1, rho=0.5)
0.5

This package imports the standard library only; the letters are those of `theory.notation`.
"""

from theory import bounds as bounds  # fills the registry
from theory import findings as findings  # likewise
from theory.claims import CLAIMS, Claim, DomainError, Reference, Requirement, claim, register, select
from theory.notation import NOTATION, Symbol

__all__ = [
    "CLAIMS", "NOTATION", "Claim", "DomainError", "Reference", "Requirement", "Symbol", "claim", "register", "select",
]
