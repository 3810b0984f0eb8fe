"""Sentence pairs: the gettext catalogues of installed programs, or two parallel text files of the user's.

A catalogue (*.mo) holds the messages of a program in English and in translation; a stock Debian has some 28,000
English-German pairs of 3 to 20 words. What is installed differs, so rows carry the content hash of the pairs. The split
depends on each English sentence alone: a twentieth is for validation, a twentieth for the test.
"""

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

LOCALES = Path("/usr/share/locale")
MAGIC = 0x950412DE  # of a catalogue, in the byte order it was written in
WORDS = (3, 20)  # a sentence has that many
PARTS = 20  # one of them for validation, one for the test
_MARK = re.compile(r"(?<!\w)[_&](?=[A-Za-z])")  # before the key that chooses a menu's entry
Pair = tuple[str, str]


class CorpusError(ValueError):
    """A file of sentences is missing or is not what its format says; the message names it and what to do."""


@dataclass(frozen=True)
class Corpus:
    """Sentence pairs, source first, split; the order of each part depends on its content alone.

    Attributes:
        train, validation, test: the pairs.
        digest: content hash of all pairs, 16 hexadecimal digits.
    """

    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    test: tuple[Pair, ...]
    digest: str


def read_catalogue(path: Path) -> Iterator[Pair]:
    """Yield message and translation of a catalogue in the GNU gettext binary format, of either byte order.

    Of plural forms the first is taken; contexts and the header entry are left out.

    Raises:
        CorpusError: when the file is cut or is no catalogue.
    """
    data = path.read_bytes()
    order = next((o for o in "<>" if len(data) >= 20 and struct.unpack_from(f"{o}I", data)[0] == MAGIC), None)
    if order is None:
        raise CorpusError(f"{path}: a catalogue must begin with its magic number, got {data[:4].hex()}; leave it out")
    try:
        count, *tables = struct.unpack_from(f"{order}3I", data, 8)
        for i in range(count):
            texts = []
            for table in tables:
                length, start = struct.unpack_from(f"{order}2I", data, table + 8 * i)
                if start + length > len(data):
                    raise struct.error("beyond the end")
                texts.append(data[start : start + length].split(b"\0")[0].decode("utf-8", "replace"))
            message, translation = texts
            if message:
                yield message.split("\x04")[-1], translation
    except struct.error as error:
        raise CorpusError(f"{path}: a catalogue must be whole, got {error}; leave it out") from None


def catalogue_pairs(folder: Path = LOCALES, language: str = "de") -> list[Pair]:
    """Return the pairs of all catalogues of a language below a folder of locales.

    Raises:
        CorpusError: when there is none, or one is damaged.
    """
    paths = sorted((folder / language / "LC_MESSAGES").glob("*.mo"))
    if not paths:
        where = folder / language / "LC_MESSAGES"
        raise CorpusError(f"{where} must hold catalogues (*.mo), got none; give --source and --target instead")
    return [pair for path in paths for pair in read_catalogue(path)]


def parallel_pairs(source: Path, target: Path) -> list[Pair]:
    """Return the pairs of two text files, UTF-8, a sentence a line, line by line translations of each other.

    Raises:
        CorpusError: when one cannot be read, or their numbers of lines differ.
    """
    sides = []
    for path in (source, target):
        try:
            sides.append(path.read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise CorpusError(f"{path}: must be a text file in UTF-8, got {error}; convert it") from error
    if len(sides[0]) != len(sides[1]):
        lines = f"{source} {len(sides[0])} and {target} {len(sides[1])}"
        raise CorpusError(f"source and target must have equally many lines, got {lines}; align them")
    return list(zip(*sides, strict=True))


def corpus(pairs: Iterable[Pair]) -> Corpus:
    """Return the pairs, cleaned and split.

    Kept are pairs of 3 to 20 words on both sides whose sides differ, white space and menu marks apart; of pairs with
    one source the first in alphabetical order.

    Raises:
        CorpusError: when a part of the split would be empty.
    """
    found: dict[str, str] = {}
    for source, target in sorted({(_clean(a), _clean(b)) for a, b in pairs}):
        if source != target and all(WORDS[0] <= len(side.split()) <= WORDS[1] for side in (source, target)):
            found.setdefault(source, target)
    keyed = sorted((hashlib.sha256(a.encode()).hexdigest(), a, b) for a, b in found.items())
    parts: list[list[Pair]] = [[], [], []]
    for key, a, b in keyed:
        parts[{0: 2, 1: 1}.get(int(key[:8], 16) % PARTS, 0)].append((a, b))
    if not all(parts):
        raise CorpusError(f"pairs must fill three parts, got {len(keyed)} of 3 to 20 words; give more sentences")
    digest = hashlib.sha256("\n".join(f"{a}\t{b}" for _, a, b in keyed).encode()).hexdigest()[:16]
    train, validation, test = map(tuple, parts)
    return Corpus(train, validation, test, digest)


def _clean(text: str) -> str:
    return " ".join(_MARK.sub("", text).split())
