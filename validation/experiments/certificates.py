"""Certificates: the algebraic core of each proof, decided anew in exact arithmetic, as rows.

Protocol. `theory.certificates` builds identities from the very functions that are measured elsewhere; each is expanded
and each sign decided by SymPy. A row says whether all of it holds and shows the formula, or says why a claim has none.
A certificate that fails is a row too: its claim does not stand then.
"""

from collections.abc import Iterator
from functools import partial

from theory.certificates import CERTIFICATES, CertificateError, Reason
from validation.cells import Row, experiment


@partial(experiment, runs=("theory",))
def certificates(*, labels: list[str]) -> Iterator[Row]:
    """Yield one row for each claim: `proved` is True, False with the `reason`, or None where nothing can be decided."""
    for label in labels:
        row: Row = {"claim": label, "family": "symbols", "rule": "", "series": "certificate", "formula": ""}
        found = CERTIFICATES[label]
        if isinstance(found, Reason):
            yield row | {"proved": None, "reason": found.text, "identities": 0}
            continue
        try:
            found.verify()
            proved, reason = True, ""
        except CertificateError as error:
            proved, reason = False, str(error)
        yield row | {
            "proved": proved,
            "reason": reason,
            "formula": found.formula(),
            "identities": len(found.identities),
        }
