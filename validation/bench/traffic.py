"""What a piece of work asks of memory, counted while it runs: bytes past a cache, and memory that it allocates.

Every operation that torch executes is seen with the memory it reads and writes. Bytes are counted as they would pass
between memory and one cache that keeps what was used last (LRU): real caches have levels and fetch a line before it is
overwritten, so this is the traffic that the order of operations asks for, on any machine alike.
"""

import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

CHUNK = 2**12  # bytes that come and go together
CACHE = 4 * 2**20  # bytes
_VIEWS = {"view", "split", "slice", "permute", "detach", "alias", "select", "expand", "t", "transpose", "_unsafe_view"}


class Traffic(TorchDispatchMode):
    """A watch on the operations executed inside `with`.

    Args:
        cache: bytes of the cache; 0: only new memory is counted, which is much faster.

    Attributes:
        moved: bytes read into the cache and written back from it, so far; at the end of the `with` all is written back.
        peak: most bytes of new memory alive at once.
    """

    def __init__(self, cache: int = CACHE) -> None:
        super().__init__()
        self.moved = self.peak = 0
        self._lines: OrderedDict[int, bool] = OrderedDict()  # chunk -> whether it must be written back
        self._room = cache // CHUNK
        self._alive: dict[int, int] = {}

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self.moved += CHUNK * sum(self._lines.values())
        self._lines.clear()

    def __enter__(self) -> "Traffic":
        super().__enter__()
        return self

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count it."""
        result = function(*args, **(kwargs or {}))
        schema = function._schema
        if schema.name.partition("::")[2] in _VIEWS:
            return result
        given = dict(zip([a.name for a in schema.arguments], args, strict=False)) | (kwargs or {})
        pure = schema.name.partition("::")[2] in ("copy_", "_foreach_copy_", "zero_", "_foreach_zero_")
        streams: list[tuple[list[Tensor], bool, bool]] = []  # tensors, read, written
        for argument in schema.arguments:
            tensors = _tensors(given.get(argument.name))
            written = argument.alias_info is not None and argument.alias_info.is_write
            if argument.name == "grads" and given.get("grad_scale") is None:
                written = False  # a fused optimizer step unscales them in place, where there is a scale
            read = not written or not (argument.kwarg_only or (pure and argument.name == "self"))
            streams += [(tensors, read, written)] if tensors else []
        if not any(written for *_, written in streams):
            fresh = _tensors(result)
            for t in fresh:
                self._born(t)
            streams.append((fresh, False, True))
        for together in _in_step(streams) if self._room else ():
            for chunk, read, written in together:
                self._touch(chunk, read, written)
        return result

    def _touch(self, chunk: int, read: bool, written: bool) -> None:
        held = self._lines.pop(chunk, None)
        self.moved += CHUNK * (held is None and read)
        self._lines[chunk] = bool(held) or written
        if len(self._lines) > self._room:
            _, dirty = self._lines.popitem(last=False)
            self.moved += CHUNK * dirty

    def _born(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if storage.nbytes() and key not in self._alive:
            self._alive[key] = storage.nbytes()
            self.peak = max(self.peak, sum(self._alive.values()))
            weakref.finalize(storage, self._alive.pop, key, None)

    @property
    def alive(self) -> int:
        """Bytes of the new memory that are alive now."""
        return sum(self._alive.values())


def _tensors(value: Any) -> list[Tensor]:
    """Return the tensors with entries that an argument or a result is made of."""
    values = value if isinstance(value, list | tuple) else [value]
    return [t for t in values if isinstance(t, Tensor) and t.numel()]


def _in_step(streams: Sequence[tuple[list[Tensor], bool, bool]]) -> Iterator[list[tuple[int, bool, bool]]]:
    """Yield chunks in the order in which one operation after the other goes through its arguments side by side."""
    for i in range(max((len(tensors) for tensors, *_ in streams), default=0)):
        lanes = [(tensors[i], read, written) for tensors, read, written in streams if i < len(tensors)]
        spans = [(t.data_ptr() // CHUNK, -(-(t.data_ptr() + _extent(t)) // CHUNK), r, w) for t, r, w in lanes]
        for k in range(max(end - start for start, end, *_ in spans)):
            yield [(start + k, read, written) for start, end, read, written in spans if start + k < end]


def _extent(tensor: Tensor) -> int:
    """Return the bytes from a tensor's first entry to its last."""
    return tensor.element_size() * (1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True)))


def traffic(task: Any) -> Traffic:
    """Run a task once, watched."""
    with torch.no_grad(), Traffic() as watch:
        task()
    return watch
