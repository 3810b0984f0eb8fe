"""One training run of a Transformer as a cell: dense or sparse, by Adam, S2-SAM or SAM around it, scored by SacreBLEU.

`random` is S2-SAM along a random direction, fresh each step, as of `validation.training.arms`.

Protocol. Equal terms: the arms of a seed share initial weights, masks' random choices and the order of the batches.
Pieces of words (SentencePiece, byte pairs, fitted on the training part) are the tokens; batches hold sentences of like
length, in an order that depends on seed and epoch; the learning rate rises over a tenth of the steps and falls as a
cosine; labels are smoothed by 0.1 (Vaswani et al. 2017). Translations are greedy. BLEU is corpus BLEU on the test part,
with SacreBLEU's signature in the row; validation BLEU chooses rho, the test part chooses nothing.
"""

import io
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from s2sam import S2SAM, SAM
from s2sam.sparse import MEST
from validation.cells import Row, experiment
from validation.training.arms import draw_direction
from validation.training.config import seed_for
from validation.translation.corpus import Corpus, Pair, catalogue_pairs, corpus, parallel_pairs
from validation.translation.network import BEGIN, END, HEADS, PAD, Translator

ARMS = ("adam", "sam", "s2sam", "random")
CODE = ("config", "arms")  # what it takes from training images
SMOOTHING = 0.1
WARM = 0.1  # part of the steps in which the learning rate rises
UNLIMITED = 25_000  # about the training pairs of a stock Debian
WEIGHT = 0.4  # of a sentence in an epoch, measured at width 64, BLEU included


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What determines a run.

    Attributes:
        optimizer: one of ARMS. sparsity: of the linear layers. seed: of everything random. rho: radius of the
            perturbation. epochs: of training. batch: sentences of a step. lr: Adam's highest. width: of a token.
        vocabulary: number of tokens, at most. limit: of training pairs; all if None.
        source, target: parallel text files, a sentence a line; None for the catalogues of this machine.
        digest: content hash that their pairs must have, whatever the files' names; None takes what is there.
        device: a torch device.

    Raises:
        ValueError: for another optimizer, a number out of its range, or only one of the two files.
    """

    optimizer: str = "s2sam"
    sparsity: float = 0.0
    seed: int = 0
    rho: float = 0.05
    epochs: int = 10
    batch: int = 64
    lr: float = 2e-3
    width: int = 128
    vocabulary: int = 4000
    limit: int | None = None
    source: str | None = None
    target: str | None = None
    digest: str | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.optimizer not in ARMS:
            raise ValueError(f"optimizer must be one of {', '.join(ARMS)}, got {self.optimizer!r}; pick one")
        for name, (least, remedy) in _LEAST.items():
            if (value := getattr(self, name)) is not None and value < least:
                raise ValueError(f"{name} must be >= {least}, got {value}; {remedy}")
        if self.width % HEADS:
            raise ValueError(f"width must be a multiple of {HEADS}, the heads, got {self.width}; 64 is small")
        if (self.source is None) != (self.target is None):
            given = "source" if self.source else "target"
            raise ValueError(f"source and target must be given together, got {given} alone; give both, or none")

    @property
    def weight(self) -> int:
        """About how long the run takes, in gradient evaluations of the `compact` network on a batch of digits."""
        sentences = self.epochs * (self.limit or UNLIMITED)
        return math.ceil(WEIGHT * sentences) * (2 if self.optimizer == "sam" else 1)


_LEAST = {  # least value, remedy
    "epochs": (1, "give the passes over the pairs"),
    "batch": (1, "give the sentences of a step"),
    "width": (HEADS, "64 is small"),
    "vocabulary": (50, "2000 is small"),
    "limit": (1, "give the pairs to train on, or None for all"),
}


@dataclass(frozen=True)
class Data:
    """Sentences as token numbers, and the way back.

    Attributes:
        corpus: the sentences. pieces: the SentencePiece processor. train, validation, test: (source, target) tensors.
    """

    corpus: Corpus
    pieces: Any
    train: list[tuple[Tensor, Tensor]]
    validation: list[tuple[Tensor, Tensor]]
    test: list[tuple[Tensor, Tensor]]

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return self.pieces.get_piece_size()


@lru_cache(maxsize=1)
def load(source: str | None, target: str | None, vocabulary: int, limit: int | None) -> Data:
    """Return the data that a setting's fields of these names describe.

    Raises:
        CorpusError: as `validation.translation.corpus`.
        ModuleNotFoundError: without the extra `translation`.
    """
    if missing := [name for name in ("sentencepiece", "sacrebleu") if find_spec(name) is None]:
        raise ModuleNotFoundError(f"translation needs {missing[0]}: pip install 's2sam[translation]'")
    import sentencepiece

    pairs = parallel_pairs(Path(source), Path(target)) if source and target else catalogue_pairs()
    whole = corpus(pairs)
    train = whole.train[:limit]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([side for pair in train for side in pair]), model_writer=model, model_type="bpe",
        vocab_size=vocabulary, hard_vocab_limit=False, num_threads=1, minloglevel=2, pad_id=PAD, bos_id=BEGIN,
        eos_id=END, unk_id=3,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())

    def tokens(part: Sequence[Pair]) -> list[tuple[Tensor, Tensor]]:
        coded = ((pieces.encode(a), pieces.encode(b)) for a, b in part)
        return [(torch.tensor([*a, END]), torch.tensor([BEGIN, *b, END])) for a, b in coded]

    return Data(whole, pieces, tokens(train), tokens(whole.validation), tokens(whole.test))


def batches(pairs: Sequence[tuple[Tensor, Tensor]], size: int, seed: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield padded batches (n, S), (n, T) of sentences of like length; in an order drawn from the seed, if any."""
    order = by_length(pairs)
    chunks = [order[i : i + size] for i in range(0, len(order), size)]
    if seed is not None:
        drawn = torch.randperm(len(chunks), generator=torch.Generator().manual_seed(seed))
        chunks = [chunks[i] for i in drawn.tolist()]
    for chunk in chunks:
        source, target = ([pairs[i][side] for i in chunk] for side in (0, 1))
        yield pad_sequence(source, True, PAD), pad_sequence(target, True, PAD)


def by_length(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[int]:
    """Return the places of the pairs, shortest first."""
    return sorted(range(len(pairs)), key=lambda i: (len(pairs[i][0]), len(pairs[i][1]), i))


def loss_of(model: Translator, source: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of each token of the target after those before it."""
    logits = model(source, target[:, :-1])
    return cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD, label_smoothing=smoothing)


def bleu(model: Translator, data: Data, part: str, batch: int = 200) -> tuple[float, str]:
    """Return corpus BLEU on a part of the data, and SacreBLEU's signature."""
    from sacrebleu.metrics import BLEU

    pairs = getattr(data, part)
    found: list[str] = []
    model.eval()
    for source, _ in batches(pairs, batch, None):
        lines = model.translate(source.to(model.places.device)).tolist()
        found += [data.pieces.decode([token for token in line if token > END]) for line in lines]
    references = [getattr(data.corpus, part)[i][1] for i in by_length(pairs)]
    metric = BLEU()
    return float(metric.corpus_score(found, [references]).score), str(metric.get_signature())


@partial(experiment, runs=("s2sam", "validation/translation", *(f"validation/training/{name}.py" for name in CODE)))
def translation(**options: Any) -> Iterator[Row]:
    """Train one network, sparse by MEST (EM) unless sparsity is 0, and yield one row.

    Args:
        options: the fields of a `Setting`.
    """
    c = Setting(**options)
    data, begin = load(c.source, c.target, c.vocabulary, c.limit), time.monotonic()
    if c.digest not in (None, data.corpus.digest):
        raise ValueError(f"digest of the pairs must be {c.digest}, got {data.corpus.digest}; give the same sentences")
    with torch.random.fork_rng():
        torch.manual_seed(seed_for("init", c.seed))
        model = Translator(data.vocabulary, c.width).to(c.device)
    per_epoch = math.ceil(len(data.train) / c.batch)
    total = per_epoch * c.epochs
    base = torch.optim.Adam(model.parameters(), lr=c.lr, betas=(0.9, 0.98))
    optimizer: Any = base if c.optimizer == "adam" else (SAM if c.optimizer == "sam" else S2SAM)(base, c.rho)
    if c.optimizer == "random":  # before the masks, whose hook clears it outside the support
        steps = count()
        draw_direction(optimizer, list(model.parameters()), lambda: seed_for("direction", c.seed, next(steps)))
    sparse = MEST(model, c.sparsity, "uniform", total, interval=per_epoch, seed=c.seed) if c.sparsity else None
    if sparse is not None:
        sparse.attach(optimizer)
    history = []
    for epoch in range(c.epochs):
        model.train()
        loss = torch.zeros((), device=c.device)
        for i, pair in enumerate(batches(data.train, c.batch, seed_for("order", c.seed, epoch))):
            done = (epoch * per_epoch + i) / total
            for group in optimizer.param_groups:
                group["lr"] = c.lr * min(done / WARM + 1 / total, (1 + math.cos(math.pi * done)) / 2)
            loss += _step(model, optimizer, *(t.to(c.device) for t in pair))
        held = _held(model, data, c.device)
        history.append({"train_loss": float(loss) / per_epoch, "validation_loss": held})
    (held_out, _), (score, signature) = (bleu(model, data, part) for part in ("validation", "test"))
    yield {
        **{name: value for name, value in asdict(c).items() if name not in ("device", "source", "target")},
        "claim": "D9", "series": "translation", "family": "parallel text" if c.source else "catalogues",
        "rule": c.optimizer, "pairs": len(data.train), "digest": data.corpus.digest, "tokens": data.vocabulary,
        "bleu": score, "validation_bleu": held_out, "signature": signature, "history": history,
        "nonzeros": sparse.nonzeros if sparse else sum(p.numel() for p in model.parameters()),
        "seconds": time.monotonic() - begin,
    }  # fmt: skip


@torch.no_grad()
def _held(model: Translator, data: Data, device: str) -> float:
    """Return the mean loss of the validation batches."""
    model.eval()
    losses = [loss_of(model, x.to(device), y.to(device)) for x, y in batches(data.validation, 200, None)]
    return float(torch.stack(losses).mean())


def _step(model: Translator, optimizer: Any, x: Tensor, y: Tensor) -> Tensor:
    """Make one step; return the loss at which its (last) gradient was taken."""
    losses = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(model, x, y, SMOOTHING)
        loss.backward()
        losses.append(loss.detach())
        return loss

    optimizer.step(closure)
    return losses[-1]
