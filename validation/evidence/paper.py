"""The paper's numbers beside ours: differences of accuracies in the registry of claims, never among our rows."""

from theory import CLAIMS


def gains(label: str) -> dict[str, float]:
    """Return what the paper reports with S2-SAM less without, by column of the claim's first table.

    >>> gains("D5")
    {'80%': 0.19, '90%': 0.34, '95%': 0.4}
    """
    table = CLAIMS[label].references[0]
    without, with_it = table.rows.values()
    return {c: round(a - b, 2) for c, a, b in zip(table.columns, with_it, without, strict=True) if a and b}


def against(other: str, network: str = "ResNet-32") -> float:
    """Return the accuracy of S2-SAM less that of "SAM" or "SGD", dense on CIFAR-10.

    >>> against("SAM"), against("SGD")
    (-0.33, 0.41)
    """
    table = CLAIMS["D6"].references[0]
    found = dict(zip(table.columns, table.rows[network], strict=True))
    one, two = found["S2-SAM"], found[other]
    assert one is not None
    assert two is not None
    return round(one - two, 2)
