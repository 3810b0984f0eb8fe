"""The passes of `s2sam.blocks` as compiled loops (`passes.c`), for plain contiguous float32 parameters on the CPU.

Perturbing reads and writes parameter and buffer once each, and so does going back while the gradient is kept and its
squares are summed: no more than memory asks for. The C compiler of the system makes the library when it is first asked
for, for this processor, in less than a second, and leaves it in the user's cache. The arithmetic is that of `rules`,
each product and sum rounded to float32 (in `blocks`, torch may leave a product unrounded), and the order of squares in
the norm is the same for any number of threads, but not that of `blocks`: a run by these passes repeats and resumes bit
for bit, and differs from one without by roundings. What does not fit is done by `blocks`.
"""

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from s2sam import blocks
from s2sam.blocks import Lifted, Scale

_SOURCE = Path(__file__).with_name("passes.c")
_FLAGS = ("-O3", "-ffp-contract=off", "-fPIC")
_TRIED = (("-march=native", "-fopenmp"), ("-fopenmp",), ("-march=native",), ())  # whatever the compiler knows
_ROW = 4096  # entries, as in passes.c


def check(parameters: Iterable[Tensor]) -> None:
    """Refuse parameters that these passes are not for, and a machine that cannot compile them.

    Raises:
        ValueError: naming the parameter's rule.
        RuntimeError: without a C compiler, or when it fails.
    """
    for p in parameters:
        if not _fit([p]):
            kind = f"{type(p).__name__} of {p.dtype} on {p.device}" + ("" if p.is_contiguous() else ", not contiguous")
            raise ValueError(f"fused must have plain contiguous float32 parameters on the CPU, got {kind}; drop it")
    library()


def lift(pairs: Sequence[Lifted], scales: Sequence[Scale]) -> None:
    """Do as `blocks.lift`."""
    if not _fit(t for pair in pairs for t in pair):
        return blocks.lift(pairs, scales)
    few = {key: f.item() for key, f in {id(f): f for scale in scales if scale is not None for f in scale}.items()}
    numbers = [[1.0 if scale is None else few[id(scale[k])] for scale in scales] for k in range(2)]
    _run("lift", [w for w, _ in pairs], [d for _, d in pairs], numbers=numbers)
    _changed(t for pair in pairs for t in pair)


def lower(pairs: Sequence[Lifted]) -> None:
    """Do as `blocks.lower`."""
    if not _fit(t for pair in pairs for t in pair):
        return blocks.lower(pairs)
    _run("lower", [w for w, _ in pairs], [d for _, d in pairs])
    _changed(t for pair in pairs for t in pair)


def keep(items: Sequence[tuple[Tensor, Tensor, Tensor, bool]]) -> Tensor:
    """Do as `blocks.keep`; return the norm as `norm` has it."""
    if not _fit(t for p, d, *_ in items for t in (p, d)):
        return blocks.keep(items)
    gradients = [g if _fit([g]) else g.to(torch.float32).resolve_neg().contiguous() for *_, g, _ in items]
    sums = _room(gradients)
    _run("keep", [p if back else None for p, *_, back in items], [d for _, d, *_ in items], gradients, sums=sums)
    _changed(t for p, d, _, back in items for t in ((p, d) if back else (d,)))
    return blocks.total(sums).sqrt()


def norm(tensors: Sequence[Tensor]) -> Tensor | None:
    """Return the Euclidean norm of tensors, float64, shape (); None where it is for `rules.global_norm` to find."""
    if not _fit(tensors):
        return None
    sums = _room(tensors)
    _run("squares", tensors, sums=sums)
    return blocks.total(sums).sqrt()


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """Return the compiled passes, compiled now or before.

    They lie in `$XDG_CACHE_HOME/s2sam` (`~/.cache/s2sam`) under a name made of the source, the flags and what the
    compiler says of itself and of this processor; where nothing can be written, in a new temporary folder. Threads are
    those of torch, whose OpenMP is there already; where it is another one, the passes have a single thread.

    Raises:
        RuntimeError: without a C compiler, or when it fails.
    """
    compiler = shlex.split(os.environ.get("CC") or "cc")
    if shutil.which(compiler[0]) is None:
        raise RuntimeError(f"fused must have a C compiler, got no {compiler[0]!r}; install one, set CC, or drop fused")
    told = [_say(*compiler, *flags, "-dM", "-E", "-x", "c", os.devnull).stdout for flags in _TRIED[::3]]
    name = hashlib.sha256("\0".join([*compiler, *_FLAGS, *told, _SOURCE.read_text()]).encode()).hexdigest()[:16] + ".so"
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "s2sam" / name
    if cached.exists():
        return ctypes.CDLL(str(cached))
    with tempfile.TemporaryDirectory(prefix="s2sam-") as folder:
        made = _compile(compiler, Path(folder))
        with suppress(OSError):  # then it is compiled anew each time
            cached.parent.mkdir(parents=True, exist_ok=True)
            apart = cached.with_suffix(f".{os.getpid()}")
            shutil.copy(made, apart)
            os.replace(apart, cached)  # there whole or not at all, whoever else compiles it
        return ctypes.CDLL(str(made))


def _compile(compiler: Sequence[str], folder: Path) -> Path:
    """Compile the source with the best flags that work; return the library's place."""
    for k, flags in enumerate(_TRIED):
        parts, made = folder / f"{k}.o", folder / f"{k}.so"
        done = _say(*compiler, *_FLAGS, *flags, "-c", _SOURCE, "-o", parts)
        if done.returncode == 0:  # linked without OpenMP: torch brings its own
            done = _say(*compiler, "-shared", parts, "-o", made)
        with suppress(OSError):
            ctypes.CDLL(str(made))
            return made
    line = next((x for x in done.stderr.splitlines() if "error" in x), f"exit status {done.returncode}")
    raise RuntimeError(f"fused must have a C compiler that works, got {line!r}; mend it, or drop fused")


def _say(*command: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def _fit(tensors: Iterable[Tensor]) -> bool:
    """Whether the passes are for these tensors, all of them: blocks of memory that hold just their entries."""
    return all(
        type(t) in (Tensor, nn.Parameter)
        and t.dtype is torch.float32
        and t.is_cpu
        and t.is_contiguous()
        and not t.is_neg()
        for t in tensors
    )


def _room(tensors: Sequence[Tensor]) -> Tensor:
    """Return room for a sum of each row of tensors, float64, shape (rows,)."""
    return torch.empty(sum(-(-t.numel() // _ROW) for t in tensors), dtype=torch.float64)


def _changed(tensors: Iterable[Tensor]) -> None:
    """Tell autograd, which saw nothing, that tensors have changed."""
    torch.autograd.graph.increment_version(list(tensors))


def _run(
    name: str, *lists: Sequence[Tensor | None], numbers: Sequence[Sequence[float]] = (), sums: Tensor | None = None
) -> None:
    """Call a pass.

    Args:
        name: of the function in passes.c.
        lists: its tensors, those of the last list never None.
        numbers: lists of factors, one for each tensor.
        sums: where it leaves sums.
    """
    count = len(lists[-1])
    sizes = (ctypes.c_size_t * count)(*[t.numel() for t in lists[-1] if t is not None])
    places = [(ctypes.c_void_p * count)(*[None if t is None else t.data_ptr() for t in ts]) for ts in lists]
    factors = [(ctypes.c_float * count)(*values) for values in numbers]
    last = [] if sums is None else [ctypes.c_void_p(sums.data_ptr())]
    getattr(library(), name)(ctypes.c_size_t(count), sizes, torch.get_num_threads(), *places, *factors, *last)
