"""Keep the most extreme runs that searches found: `python -m validation.adversary.keep FILE.jsonl` writes a table.

One line for each claim and rule, sorted as the registry; the property tests repeat every line, so that an extreme once
found is met for ever.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from theory import CLAIMS
from validation.adversary.hunt import search
from validation.experiments.extremes import LONG, SHORT, questions


def kept(budget: int = 10_000, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the most extreme run of each claim and rule, found by a search of this budget."""
    for label, rule in questions(list(CLAIMS)):
        yield search(label, rule, budget=budget, seed=seed, count=LONG.get(label, SHORT)).instance()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m validation.adversary.keep FILE.jsonl")
    torch.set_num_threads(1)
    Path(sys.argv[1]).write_text("".join(json.dumps(line) + "\n" for line in kept()))
