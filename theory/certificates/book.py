"""The registry of certificates: one builder per claim, given the bound that the claim is about."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache

from theory import CLAIMS
from theory.certificates.proof import Certificate, Identity, Reason
from theory.requirements import Formula

__all__ = ["CERTIFICATES", "certificate", "certify", "no_certificate"]

Builder = Callable[[Formula], tuple[Identity, ...]]

_BUILDERS: dict[str, Builder] = {}
_REASONS: dict[str, Reason] = {}


def certificate(label: str) -> Callable[[Builder], Builder]:
    """Register the decorated function, which makes the identities from the claim's bound, for the claim `label`."""

    def decorate(build: Builder) -> Builder:
        _BUILDERS[label] = build
        return build

    return decorate


def no_certificate(label: str, text: str) -> None:
    """Say why the claim `label` has no certificate."""
    _REASONS[label] = Reason(label, text)


def certify(label: str, bound: Formula | None = None) -> Certificate:
    """The certificate of a claim, unverified; of another bound than the claim's, if one is given.

    Raises KeyError for a claim without certificate.
    """
    chosen = bound or CLAIMS[label].bound
    if chosen is None or label not in _BUILDERS:
        raise KeyError(label)
    return Certificate(label, _BUILDERS[label](chosen))


class _Book(Mapping[str, Certificate | Reason]):
    """Certificates by label in the order of `CLAIMS`, each built when it is first looked up."""

    def __getitem__(self, label: str) -> Certificate | Reason:
        return _REASONS[label] if label in _REASONS else _built(label)

    def __iter__(self) -> Iterator[str]:
        return (label for label in CLAIMS if label in _REASONS or label in _BUILDERS)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@cache
def _built(label: str) -> Certificate:
    return certify(label)


CERTIFICATES: Mapping[str, Certificate | Reason] = _Book()
"""Every claim's certificate or the reason why it has none, by label."""
