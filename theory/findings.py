"""D: what the paper shows by experiment, with the numbers it reports as data.

A finding has no bound: its verdict is what an experiment measures, and without one the registry says why it is not
tested here. The numbers are those of Ji et al. (NeurIPS 2024), never ours; accuracies are test accuracies.
"""

from theory.claims import Claim, Reference, register

__all__ = ["FINDINGS"]

_PAPER = "Ji et al. (NeurIPS 2024)"
_STORED = "no rows of it are stored; s2sam evidence --claims {} makes them"
_LARGE = "no experiment of this validation has ImageNet, or trains a network of this size"
_WITHOUT, _WITH = "without S2-SAM", "with S2-SAM"
_ACCURACY = "test accuracy, %"
_DENSE = ("SGD", "S2-SAM", "SAM")


def _finding(
    label: str, title: str, statement: str, measures: str, untested: str, *references: Reference, at: str = ""
) -> Claim:
    """A finding of the paper, from the table or figure `at`, registered."""
    return register(
        Claim(
            label=label, title=title, statement=statement, origin="paper", source=f"{_PAPER}{at and ', ' + at}",
            kind="finding", measures=measures, requires=(), bound=None, expects="", untested=untested,
            references=references,
        )
    )


def _pair(setting: str, columns: str, without: tuple[float, ...], with_it: tuple[float, ...]) -> Reference:
    """Numbers of the paper without and with S2-SAM; the columns are separated by blanks."""
    rows = {_WITHOUT: without, _WITH: with_it}
    return Reference(source=f"{_PAPER}: {setting}", quantity=_ACCURACY, columns=tuple(columns.split()), rows=rows)


FINDINGS: tuple[Claim, ...] = (
    _finding(
        "D1",
        "zero extra cost",
        "S2-SAM needs one gradient evaluation a step, as SGD does, where SAM needs two; its throughput is about that "
        "of SGD, SAM's about half of it.",
        "gradient evaluations a step, and training throughput relative to SGD",
        "no rows of it are stored; s2sam bench training --json makes them",
        Reference(
            source=f"{_PAPER}: what the algorithms need",
            quantity="gradient evaluations a step",
            columns=("SGD", "S2-SAM", "SAM"),
            rows={"evaluations": (1, 1, 2)},
        ),
        at="Table 4",
    ),
    _finding(
        "D2",
        "sparsity makes the loss surface chaotic",
        "The roughness Ra of the loss surface, its mean absolute deviation over a random plane whose two directions "
        "are normalised filter by filter, grows with the sparsity of the network.",
        "Ra at several sparsities",
        _STORED.format("D2"),
        at="Figure 1",
    ),
    _finding(
        "D3",
        "S2-SAM smooths the loss surface",
        "The roughness Ra of the loss surface is smaller after training with S2-SAM than without, for each method of "
        "sparse training and each sparsity.",
        "Ra with S2-SAM less Ra without",
        _STORED.format("D3"),
        at="Figure 3",
    ),
    _finding(
        "D4",
        "the gain in accuracy grows with sparsity",
        "S2-SAM raises the accuracy of sparse training at every sparsity, and the more the sparser the network is.",
        "accuracy with S2-SAM less accuracy without, over sparsity",
        _STORED.format("D4"),
        _pair(
            "ResNet-32 on CIFAR-10, MEST (EM), over sparsity",
            "0% 20% 40% 60% 80% 90% 95% 98%",
            (94.58, 94.35, 93.92, 93.58, 93.23, 92.56, 91.15, 89.22),
            (94.99, 94.67, 94.38, 94.11, 93.88, 93.43, 91.58, 91.22),
        ),
    ),
    _finding(
        "D5",
        "plug and play",
        "S2-SAM raises the accuracy of every method of sparse training it is added to: LT, LRR, SNIP, GraSP, SET, DSR, "
        "RigL, MEST, CHEX and Chase.",
        "accuracy with S2-SAM less accuracy without, for each method",
        _STORED.format("D5"),
        _pair("CIFAR-10, LRR, over sparsity", "80% 90% 95%", (94.68, 94.05, 93.82), (94.87, 94.39, 94.22)),
    ),
    _finding(
        "D6",
        "little lost against exact SAM",
        "In dense training S2-SAM is more accurate than SGD and a little less accurate than SAM, at half SAM's cost.",
        "accuracy of SGD, S2-SAM and SAM",
        _STORED.format("D6"),
        Reference(
            source=f"{_PAPER}: dense training on CIFAR-10",
            quantity=_ACCURACY,
            columns=_DENSE,
            rows={
                "ResNet-32": (94.58, 94.99, 95.32),
                "MobileNet-V2": (94.13, 94.55, 94.77),
                "VGG-19": (94.21, 94.48, 94.71),
            },
        ),
        Reference(
            source=f"{_PAPER}: dense training on ImageNet",
            quantity=_ACCURACY,
            columns=_DENSE,
            rows={
                "EfficientNet-B0": (76.54, 77.10, 77.38),
                "ResNet-34": (74.09, 74.58, 74.77),
                "ResNet-50": (76.90, 77.32, 77.58),
            },
        ),
    ),
    _finding(
        "D7",
        "fewer pruning rounds",
        "For a lottery ticket of 90 % sparsity the gain of S2-SAM grows with the fraction pruned in a round. As "
        "stated the rounds do not add up: six rounds of 30 % reach only 88.2 % sparsity and four of 40 % only 87.0 "
        "%; 90 % takes seven and five.",
        "accuracy with S2-SAM less accuracy without, over the fraction pruned a round",
        _STORED.format("D7"),
        _pair(
            "CIFAR-10, LT to 90 %, over rounds x fraction a round",
            "11x20% 6x30% 4x40%",
            (92.31, 91.71, 90.73),
            (92.58, 92.32, 91.44),
        ),
    ),
    _finding(
        "D8",
        "robustness to corruption",
        "S2-SAM raises the accuracy of sparse networks on corrupted test images, by the protocol of ImageNet-C.",
        "accuracy on corrupted images with S2-SAM less that without",
        _STORED.format("D8"),
    ),
    _finding(
        "D9",
        "Transformers",
        "S2-SAM raises the translation quality of dense and sparse Transformers.",
        "SacreBLEU with S2-SAM less SacreBLEU without",
        _STORED.format("D9"),
        Reference(
            source=f"{_PAPER}: Transformer, WMT-14 English to German; sparse by MEST (EM)",
            quantity="SacreBLEU",
            columns=("dense", "80%", "90%"),
            rows={_WITHOUT: (27.6, 27.1, 26.4), _WITH: (27.9, 27.5, 27.2)},
        ),
    ),
    _finding(
        "D10",
        "ImageNet, sparse",
        "S2-SAM raises the accuracy of sparse ResNet-50 on ImageNet.",
        "accuracy with S2-SAM less accuracy without",
        _LARGE,
        Reference(
            source=f"{_PAPER}: ResNet-50 on ImageNet",
            quantity=_ACCURACY,
            columns=("RigL 95%", "MEST (EM) 95%", "SET 5x 80%", "SET 5x 90%"),
            rows={_WITHOUT: (69.02, 69.95, 74.60, 72.43), _WITH: (69.83, 70.81, 75.43, 73.16)},
        ),
    ),
)
"""D1 to D10 in order."""
