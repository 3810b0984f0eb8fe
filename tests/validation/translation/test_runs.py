"""The Transformer sees no future and no padding, is sparse where asked, and learns; a run is one reproducible row."""

import pytest
import torch

from s2sam.sparse import MEST
from validation.cells import Cell
from validation.translation import runs
from validation.translation.network import BEGIN, END, PAD, Translator

pytest.importorskip("sentencepiece")
pytest.importorskip("sacrebleu")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two parallel files of a toy language: every word has one translation, the order is reversed."""
    words = {f"w{a}{b}": f"t{b}{a}" for a in "abcd" for b in "efgh"}
    generator = torch.Generator().manual_seed(0)
    lines = [[list(words)[i] for i in torch.randint(16, (4,), generator=generator)] for _ in range(240)]
    folder = tmp_path_factory.mktemp("text")
    source, target = folder / "a.txt", folder / "b.txt"
    source.write_text("\n".join(" ".join(line) for line in lines))
    target.write_text("\n".join(" ".join(words[w] for w in reversed(line)) for line in lines))
    return {"source": str(source), "target": str(target)}


SMALL = {"vocabulary": 60, "width": 16, "epochs": 2, "batch": 64}


def model():
    torch.manual_seed(0)
    return Translator(20, width=16, heads=2, inner=32).eval()


def check_causal(network):
    """Changing a later token of the target leaves the logits of earlier places as they are, and changes its own."""
    source, target = torch.tensor([[5, 6, 7, END]]), torch.tensor([[BEGIN, 5, 6, 7]])
    other = target.clone()
    other[0, 2] = 9
    with torch.no_grad():
        one, two = network(source, target), network(source, other)
    assert bool((one[:, :2] == two[:, :2]).all())
    assert not bool((one[:, 2] == two[:, 2]).all())


def test_the_decoder_does_not_see_the_future():
    check_causal(model())


def test_a_decoder_that_sees_the_future_is_noticed():
    network = model()
    for block in network.decoder:
        look = block.own.forward
        block.own.forward = lambda x, seen, mask=None, causal=False, look=look: look(x, seen, mask)
    with pytest.raises(AssertionError):
        check_causal(network)


def test_padding_of_the_source_changes_nothing():
    network, target = model(), torch.tensor([[BEGIN, 5, 6]])
    with torch.no_grad():
        bare = network(torch.tensor([[5, 6, END]]), target)
        padded = network(torch.tensor([[5, 6, END, PAD, PAD]]), target)
    # float32: the same terms, perhaps summed in another order, through 4 blocks of sums of at most 32 terms near 1
    assert float((bare - padded).abs().max()) < 4 * 32 * 32 * 2**-24


def test_greedy_translation_is_the_likeliest_token_each_time():
    network, source = model(), torch.tensor([[5, 6, END], [7, END, PAD]])
    found = network.translate(source)
    target = torch.cat([torch.full((2, 1), BEGIN), found], 1)
    with torch.no_grad():
        best = network(source, target[:, :-1]).argmax(2)
    for line, own in zip(found.tolist(), best.tolist(), strict=True):
        ended = False
        for token, likeliest in zip(line, own, strict=True):
            assert token == (PAD if ended else likeliest)
            ended |= token == END


def test_the_projections_can_be_pruned_and_the_embedding_cannot():
    network = model()
    sparse = MEST(network, 0.8, "uniform", 10, interval=5)
    assert not any("embedding" in name or "output" in name for name in sparse.weights)
    assert len(sparse.weights) == 2 * (4 + 2) + 2 * (8 + 2)  # attention has 4, the feed-forward part 2


def test_batches_hold_every_pair_once_in_an_order_of_the_seed():
    pairs = [(torch.arange(3, 4 + i % 5), torch.arange(3, 4 + i % 3)) for i in range(23)]
    first, again, other = ([tuple(x.shape) for x, _ in runs.batches(pairs, 4, seed)] for seed in (1, 1, 2))
    assert first == again != other
    assert sorted(first) == sorted(other)
    assert sum(n for n, _ in first) == 23


@pytest.mark.parametrize(("optimizer", "sparsity"), [("adam", 0.0), ("s2sam", 0.8), ("sam", 0.8)])
def test_a_run_is_a_row_that_comes_out_the_same(files, optimizer, sparsity):
    options = {"optimizer": optimizer, "sparsity": sparsity, "seed": 1, **SMALL, **files}
    one, two = (Cell.of("translation", **options).rows()[0] for _ in "ab")
    assert {k: v for k, v in one.items() if k != "seconds"} == {k: v for k, v in two.items() if k != "seconds"}
    assert one["history"][-1]["validation_loss"] < one["history"][0]["validation_loss"]
    assert one["signature"].startswith("nrefs:1|case:mixed|")
    assert one["family"] == "parallel text"
    assert one["nonzeros"] < 10_000 if sparsity else one["nonzeros"] > 10_000


@pytest.mark.slow
def test_it_learns_to_translate(files):
    """Sixteen words in reversed order: a network that works comes near 100, one that guesses stays near 0."""
    options = {"optimizer": "adam", "epochs": 60, "batch": 16, "width": 32, "vocabulary": 60, "lr": 5e-3, **files}
    row, *_ = Cell.of("translation", **options).rows()
    assert row["bleu"] > 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "sgd"}, "optimizer must be one of adam, sam, s2sam, random, got 'sgd'; pick one"),
        ({"source": "x"}, "source and target must be given together, got source alone; give both, or none"),
        ({"epochs": 0}, "epochs must be >= 1, got 0; give the passes over the pairs"),
        ({"limit": 0}, "limit must be >= 1, got 0; give the pairs to train on, or None for all"),
        ({"width": 66}, "width must be a multiple of 4, the heads, got 66; 64 is small"),
    ],
)
def test_bad_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        runs.Setting(**options)
