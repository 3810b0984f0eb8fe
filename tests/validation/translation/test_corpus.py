"""Catalogues against the system's own reader, parallel text, cleaning and the split."""

import gettext
import hashlib
import struct

import pytest

from validation.translation.corpus import CorpusError, catalogue_pairs, corpus, parallel_pairs, read_catalogue

MESSAGES = {
    "": "Content-Type: text/plain; charset=UTF-8\n",
    "a file is missing": "eine Datei fehlt",
    "menu\x04_Open the file": "Datei _öffnen",
    "one file\0%d files": "eine Datei\0%d Dateien",
}


def binary(messages, order="<"):
    """A catalogue as the format's description says: header, two tables of (length, offset), the texts."""
    ids = [m.encode() for m in messages]
    texts = [t.encode() for t in messages.values()]
    n, start = len(ids), 28 + 16 * len(ids)
    table, data = [], b""
    for text in ids + texts:
        table.append(struct.pack(f"{order}2I", len(text), start + len(data)))
        data += text + b"\0"
    return struct.pack(f"{order}7I", 0x950412DE, 0, n, 28, 28 + 8 * n, 0, 0) + b"".join(table) + data


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_catalogue_is_read_as_the_standard_library_reads_it(tmp_path, order):
    path = tmp_path / "x.mo"
    path.write_bytes(binary(MESSAGES, order))
    found = dict(read_catalogue(path))
    with path.open("rb") as file:
        reference = gettext.GNUTranslations(file)
    assert found == {
        "a file is missing": reference.gettext("a file is missing"),
        "_Open the file": reference.pgettext("menu", "_Open the file"),
        "one file": reference.ngettext("one file", "%d files", 1),
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no catalogue at all here", "must begin with its magic number"),
        (b"", "must begin with its magic number"),
        (binary(MESSAGES)[:-20], "must be whole"),
        (binary(MESSAGES)[:30], "must be whole"),
    ],
)
def test_a_damaged_catalogue_is_refused(tmp_path, data, message):
    path = tmp_path / "x.mo"
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=message):
        list(read_catalogue(path))


def test_catalogues_are_found_by_language(tmp_path):
    folder = tmp_path / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "x.mo").write_bytes(binary(MESSAGES))
    assert ("a file is missing", "eine Datei fehlt") in catalogue_pairs(tmp_path)
    with pytest.raises(CorpusError, match="must hold catalogues"):
        catalogue_pairs(tmp_path, "fr")


def test_parallel_text_is_read_line_by_line(tmp_path):
    source, target = tmp_path / "a.txt", tmp_path / "b.txt"
    source.write_text("one\ntwo\n", encoding="utf-8")
    target.write_text("eins\nzwei\n", encoding="utf-8")
    assert parallel_pairs(source, target) == [("one", "eins"), ("two", "zwei")]
    target.write_text("eins\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="equally many lines"):
        parallel_pairs(source, target)
    target.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(CorpusError, match="must be a text file in UTF-8"):
        parallel_pairs(source, target)
    with pytest.raises(CorpusError, match="must be a text file in UTF-8"):
        parallel_pairs(tmp_path / "none.txt", target)


PAIRS = [(f"sentence number {i} here", f"hier Satz Nummer {i}") for i in range(400)]


def test_the_split_is_a_partition_that_depends_on_the_content_alone():
    first, second = corpus(PAIRS), corpus(reversed(PAIRS))
    assert first == second
    parts = [set(first.train), set(first.validation), set(first.test)]
    assert set.union(*parts) == set(PAIRS)
    assert sum(map(len, parts)) == len(PAIRS)
    for source, _ in first.test:  # the definition
        assert int(hashlib.sha256(source.encode()).hexdigest()[:8], 16) % 20 == 0
    assert corpus(PAIRS[:-1]).digest != first.digest
    assert set(corpus(PAIRS[:200]).test) <= set(first.test)  # more sentences never move one from training to test


def test_pairs_are_cleaned():
    extra = [("_Open the  file", "Datei &öffnen bitte"), ("too short", "zu kurz aber")]
    extra += [("same as this", "same as this")]
    extra += [("read snake_case words only", "nur snake_case Worte lesen"), ("w " * 21, "w " * 20 + "x")]
    kept = corpus([*PAIRS, *extra])
    found = {*kept.train, *kept.validation, *kept.test} - set(PAIRS)
    assert found == {
        ("Open the file", "Datei &öffnen bitte"),  # a mark stands before a letter of the alphabet
        ("read snake_case words only", "nur snake_case Worte lesen"),
    }


def test_too_few_pairs_are_refused():
    with pytest.raises(CorpusError, match="pairs must fill three parts, got 3 of 3 to 20 words"):
        corpus(PAIRS[:3])
