"""Rung 1: the algebraic core of every claim as exact identities, built from the bounds themselves, checked by SymPy.

`CERTIFICATES` maps every label to a `Certificate`, or to the `Reason` why there is none; values are built on first use:

>>> from theory.certificates import CERTIFICATES
>>> print(CERTIFICATES["A3.step"].verify().formula())
smoothness: L^2*diff_p^2 - ||G||^2 = [smooth]
    [smooth] = L^2*diff_p^2 - ||G||^2 >= 0, f is L-smooth

A certificate shows that the bound follows from its assumptions; that these hold for the functions in question is
theirs to say. It needs SymPy, of the extra `validation`.
"""

from theory.certificates import convex, descent, error, limits, lower_bounded, momentum, rates, trajectory
from theory.certificates.book import CERTIFICATES, certify
from theory.certificates.proof import Certificate, CertificateError, Identity, Range, Reason, Square, Term

__all__ = [
    "CERTIFICATES", "Certificate", "CertificateError", "Identity", "Range", "Reason", "Square", "Term", "certify",
    "convex", "descent", "error", "limits", "lower_bounded", "momentum", "rates", "trajectory",
]
