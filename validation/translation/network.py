"""A small Transformer for translation (Vaswani et al., NeurIPS 2017), normalised before each block.

Its projections are `nn.Linear`, so the sparse methods mask them; the embedding, which the output layer shares, stays
dense, as do LayerNorms.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

PAD, BEGIN, END = 0, 1, 2  # token numbers that every vocabulary keeps
HEADS = 4


class Attention(nn.Module):
    """Attention with several heads from one sequence to another, or to itself.

    Args:
        width: of a token, a multiple of `heads`. heads: number.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, seen: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """Return (n, T, width) for x of that shape, from seen (n, S, width); mask (n, 1, 1, S) is False at padding."""
        q, k, v = (
            layer(t).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, t in ((self.query, x), (self.key, seen), (self.value, seen))
        )
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A layer of the encoder, or of the decoder with attention to the source.

    Args:
        width: of a token. heads: of the attention. inner: width of the feed-forward part. crossed: whether it attends
            to the source, and its own attention looks back only.
    """

    def __init__(self, width: int, heads: int, inner: int, crossed: bool) -> None:
        super().__init__()
        self.own = Attention(width, heads)
        self.cross = Attention(width, heads) if crossed else None
        self.feed = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3 if crossed else 2))

    def forward(
        self, x: Tensor, mask: Tensor | None, memory: Tensor | None = None, past: Tensor | None = None
    ) -> Tensor:
        """Return x (n, T, width) after the layer; mask is of the source's tokens, memory the encoder's output.

        In the decoder, x may be the last token alone, (n, 1, width), and `past` all so far, it among them.
        """
        first, *_, last = self.norms
        y = first(x)
        if self.cross is None:
            x = x + self.own(y, y, mask)
        else:
            assert memory is not None
            x = x + (self.own(y, y, causal=True) if past is None else self.own(y, first(past)))
            x = x + self.cross(self.norms[1](x), memory, mask)
        return x + self.feed(last(x))


class Translator(nn.Module):
    """Encoder and decoder over one shared vocabulary.

    Args:
        vocabulary: number of tokens. width: of a token. heads: of attention. layers: of encoder and of decoder. inner:
            width of the feed-forward parts. longest: sequence it can read or write, in tokens.
    """

    places: Tensor

    def __init__(
        self,
        vocabulary: int,
        width: int = 128,
        heads: int = HEADS,
        layers: int = 2,
        inner: int = 256,
        longest: int = 512,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=PAD)
        self.encoder = nn.ModuleList(Block(width, heads, inner, False) for _ in range(layers))
        self.decoder = nn.ModuleList(Block(width, heads, inner, True) for _ in range(layers))
        self.after = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.output = nn.Linear(width, vocabulary)
        self.output.weight = self.embedding.weight
        place = torch.arange(longest)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(1e4) / width))
        self.register_buffer("places", torch.stack([place.sin(), place.cos()], 2).flatten(1), persistent=False)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        with torch.no_grad():
            self.embedding.weight[PAD] = 0

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Map source (n, S) and the target so far (n, T), token numbers, to logits of the next token (n, T, tokens)."""
        return self.decode(target, *self.encode(source))

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Return the source's states (n, S, width) and the mask of its tokens (n, 1, 1, S)."""
        mask = (source != PAD)[:, None, None]
        x = self._embed(source)
        for block in self.encoder:
            x = block(x, mask)
        return self.after[0](x), mask

    def decode(self, target: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """Return logits (n, T, tokens) of the token after each prefix of the target (n, T)."""
        x = self._embed(target)
        for block in self.decoder:
            x = block(x, mask, memory)
        return self.output(self.after[1](x))

    def _embed(self, tokens: Tensor, place: int = 0) -> Tensor:
        places = self.places[place : place + tokens.shape[1]]
        return self.embedding(tokens) * self.embedding.embedding_dim**0.5 + places

    @torch.no_grad()
    def translate(self, source: Tensor) -> Tensor:
        """Return the likeliest next token, again and again (greedy), (n, T), for source (n, S); END and then PAD.

        At most 1.5 times as many tokens as the source has, and 10.
        """
        memory, mask = self.encode(source)
        longest = min(len(self.places), int(1.5 * source.shape[1]) + 10)
        target = torch.full((len(source), longest), PAD, device=source.device)
        target[:, 0] = BEGIN
        going = torch.arange(len(source), device=source.device)  # the sentences that have not ended
        seen = [memory[:, :0] for _ in self.decoder]  # what each block was given of them
        for i in range(1, longest):
            x = self._embed(target[going, i - 1 : i], i - 1)
            for k, block in enumerate(self.decoder):
                seen[k] = torch.cat([seen[k], x], 1)
                x = block(x, mask, memory, seen[k])
            target[going, i] = token = self.output(self.after[1](x))[:, 0].argmax(1)
            left = token != END
            going, memory, mask, seen = going[left], memory[left], mask[left], [past[left] for past in seen]
            if not len(going):
                return target[:, 1 : i + 1]
        return target[:, 1:]
