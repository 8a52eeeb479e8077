from __future__ import annotations

import csv
import gzip
import json
import os
import tracemalloc
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ulmfit.config.data import ReadingConfig
from ulmfit.data.sources import Document, expand, read_documents, read_many, read_without_label
from ulmfit.errors import ConfigError, DataError
from ulmfit.text.unicode import UnicodeCheck

TEXTS = ['Hello, "world"', "", "두 줄\nand\r\nmore", "\x00\x01\t\u2028🎉", "\ufeffx"]
LABELS = ["a", "b", "b", " c ", "a"]
READING = ReadingConfig()


def read(source: Any, *, labelled: bool = True, **reading: Any) -> list[Document]:
    return list(read_documents(source, ReadingConfig(**reading), labelled=labelled))


def failure(source: Any, *, labelled: bool = True, **reading: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(source, labelled=labelled, **reading)
    return str(caught.value)


def write_csv(path: Path, texts: list[str], labels: list[str], dialect: str = "excel") -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, dialect=dialect)
        writer.writerow(["label", "text"])
        writer.writerows(zip(labels, texts, strict=True))


def write_tsv(path: Path, texts: list[str], labels: list[str]) -> None:
    write_csv(path, texts, labels, "excel-tab")


def write_jsonl(path: Path, texts: list[str], labels: list[str]) -> None:
    rows = ({"n": 1, "text": t, "label": la} for t, la in zip(texts, labels, strict=True))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_parquet(path: Path, texts: list[str], labels: list[str]) -> None:
    pq.write_table(pa.table({"label": labels, "text": texts}), path)


Writer = Callable[[Path, list[str], list[str]], None]
WRITERS: dict[str, Writer] = {
    "csv": write_csv,
    "tsv": write_tsv,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}


# --- what is read ---------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("suffix", WRITERS)
def test_tables_are_read_without_loss(tmp_path: Path, suffix: str, compressed: bool) -> None:
    path = tmp_path / f"data.{suffix}"
    WRITERS[suffix](path, TEXTS, LABELS)
    if compressed:
        packed = tmp_path / f"data.{suffix}.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path = packed
    expected = [
        Document(text, label, f"{path}, row {row}")
        for row, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True), 1)
    ]
    assert read(path) == expected
    assert [d.text for d in read(str(path), labelled=False)] == TEXTS
    assert {d.label for d in read(path, labelled=False)} == {None}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(["x", "y, z", '"'])
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_valid_text_survives_every_table(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    for suffix, write in WRITERS.items():
        if suffix in ("csv", "tsv") and sum(t.count("\0") for t in texts) > 2:
            continue  # mostly NUL: taken for a binary file
        path = tmp_path / f"data.{suffix}"
        write(path, texts, labels)
        assert [(d.text, d.label) for d in read(path)] == rows


def test_plain_text_is_a_document_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff first \r\n\n \nsecond\x0b\x85\rline\u2028\nlast".encode())
    assert [(d.text, d.where) for d in read(path, labelled=False)] == [
        (" first ", f"{path}, row 1"),
        ("second\x0b\x85\rline\u2028", f"{path}, row 4"),
        ("last", f"{path}, row 5"),
    ]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "txt"])
def test_a_byte_order_mark_is_no_text(tmp_path: Path, suffix: str) -> None:
    contents = {"csv": "text\na", "tsv": "text\na", "jsonl": '{"text": "a"}', "txt": "a"}
    path = tmp_path / f"a.{suffix}"
    path.write_text(contents[suffix], encoding="utf-8-sig")
    assert [d.text for d in read(path, labelled=False)] == ["a"]


@pytest.mark.parametrize("encoding", ["cp949", "utf-16", "utf-16-le", "utf_8"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n좋아요,1\n싫어요,0\n", encoding=encoding)
    found = [(d.text, d.label) for d in read(path, encoding=encoding)]
    assert found == [("좋아요", "1"), ("싫어요", "0")]


def test_folder_with_a_sub_folder_a_class(tmp_path: Path) -> None:
    for name, text in [("pos/b.txt", "B\r\n"), ("pos/a.txt", ""), ("neg/1", "no"), (".git/x", "")]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text.encode())
    (tmp_path / "README").write_text("beside the classes")
    (tmp_path / "pos" / ".DS_Store").write_bytes(b"\x00\xff")
    assert read(tmp_path) == [
        Document("no", "neg", str(tmp_path / "neg" / "1")),
        Document("", "pos", str(tmp_path / "pos" / "a.txt")),
        Document("B\r\n", "pos", str(tmp_path / "pos" / "b.txt")),
    ]
    assert [d.label for d in read(tmp_path, labelled=False)] == [None] * 3


def test_lists_pairs_and_iterators() -> None:
    expected = [Document("a", None, "texts, row 1"), Document("b", None, "texts, row 2")]
    assert read(["a", "b"], labelled=False) == expected
    assert read(("a", "b"), labelled=False) == expected
    assert read(np.array(["a", "b"]), labelled=False) == expected
    assert read(iter(["a", "b"]), labelled=False) == expected
    assert read((["a", "b"], [1, 0]), labelled=False) == expected
    assert read([], labelled=False) == []
    assert [d.text for d in read([("a", "b"), ("c", "")], labelled=False)] == [
        ("a", "b"),
        ("c", ""),
    ]
    assert [d.label for d in read((["a", "b"], np.array([1, 0])))] == ["1", "0"]
    assert type(read(np.array(["a"]), labelled=False)[0].text) is str


def test_data_frame() -> None:
    frame = pd.DataFrame({"label": [1.0, 0.0], "text": ["a", ""], "other": 0}, index=[7, 7])
    assert read(frame) == [
        Document("a", "1", "data frame, row 1"),
        Document("", "0", "data frame, row 2"),
    ]


def test_several_text_columns_make_a_tuple(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("title,body,label\nT,B,x\n,B2,y\n")
    documents = read(path, text_columns=("body", "title"))
    assert [d.text for d in documents] == [("B", "T"), ("B2", "")]
    frame = pd.read_csv(path, keep_default_na=False)
    assert [d.text for d in read(frame, text_columns=("body", "title"))] == [
        d.text for d in documents
    ]


def written(frame: pd.DataFrame, path: Path) -> Path:
    """Write `frame` in the format that the path's ending names."""
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True)
        case ".parquet":
            frame.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_lists_of_labels(tmp_path: Path, suffix: str) -> None:
    rows = {"text": ["a", "b", "c"], "label": [["sad", "angry"], [], ["sad", "sad"]]}
    frame = pd.DataFrame(rows)
    path = written(frame, tmp_path / f"a.{suffix}")
    expected = [("angry", "sad"), (), ("sad",)]
    assert [d.label for d in read(path)] == expected
    assert [d.label for d in read(frame)] == expected
    assert [d.label for d in read((rows["text"], rows["label"]))] == expected
    assert [d.label for d in read((["a"], [[1.0, True, np.int64(3)]]))] == [("1", "3", "True")]
    with pytest.raises(DataError, match="row 2: the label is missing"):
        read((["a", "b"], [["x"], ["x", ""]]))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_rows_without_a_label_stand_apart_where_they_are_asked_for(
    tmp_path: Path, suffix: str
) -> None:
    frame = pd.DataFrame({"text": ["a", "b", "c", "d"], "label": ["x", None, " ", "y"]})
    path = written(frame, tmp_path / f"a.{suffix}")
    reading = ReadingConfig(missing_label="unlabelled")
    for source in (path, frame, (["a", "b", "c", "d"], ["x", None, " ", "y"])):
        having = list(read_documents(source, reading, labelled=True))
        without = list(read_without_label(source, reading))
        assert [(d.text, d.label) for d in having] == [("a", "x"), ("d", "y")]
        assert [(d.text, d.label) for d in without] == [("b", None), ("c", None)]
        assert [d.where.rpartition(", ")[2] for d in having] == ["row 1", "row 4"]
        assert list(read_without_label(source, ReadingConfig())) == []
    assert [d.text for d in read_documents(path, reading, labelled=False)] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("several", [{"label_separator": "|"}, {"label_columns": ("x", "y")}])
def test_an_empty_cell_is_no_missing_label_where_there_may_be_several(several: Any) -> None:
    reading = ReadingConfig(missing_label="unlabelled", **several)
    frame = pd.DataFrame({"text": ["a"], "label": [""], "x": [0], "y": [0]})
    for read_rows in (partial(read_documents, labelled=True), read_without_label):
        with pytest.raises(ConfigError, match=r"'reading.missing_label': .* leave one of them out"):
            list(read_rows(frame, reading))


def test_labels_with_a_separator(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,sad|angry\nb,\nc, sad |\nd,fine\n")
    found = [d.label for d in read(path, label_separator="|")]
    assert found == [("angry", "sad"), (), ("sad",), ("fine",)]
    frame = pd.DataFrame({"text": ["a", "b", "c"], "label": [1.0, None, 20.0]})
    assert [d.label for d in read(frame, label_separator="|")] == [("1",), (), ("20",)]


def test_labels_that_are_alike_once_cleaned_are_one() -> None:
    frame = pd.DataFrame({"text": ["a"], "label": [["x\ud800", "x\udfff", "b"]]})
    assert [d.label for d in read(frame)] == [("b", "x\ufffd")]


def test_columns_without_names_are_told() -> None:
    with pytest.raises(DataError, match=r"no column 'text'; found 0, 1: name it with"):
        read(pd.DataFrame([["a", "x"]]))


def test_a_column_for_each_label(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,toxic,rude\na,0,1\nb,True,1\nc,0,FALSE\n")
    names = ("toxic", "rude")
    expected = [("rude",), ("rude", "toxic"), ()]
    assert [d.label for d in read(path, label_columns=names)] == expected
    frame = pd.DataFrame({"text": ["a", "b", "c"], "toxic": [0.0, 1, 0], "rude": [1, 1, 0]})
    assert [d.label for d in read(frame, label_columns=names)] == expected
    path.write_text("text,toxic,rude\na,0,2\n")
    with pytest.raises(DataError) as caught:
        read(path, label_columns=names)
    assert str(caught.value) == (
        f"{path}, row 1: column 'rude' holds '2'; write 1 where the label is there and 0 where "
        "it is not"
    )
    with pytest.raises(DataError, match=r"no column 'rub'.*name it with --reading\.label-columns"):
        read(path, label_columns=("toxic", "rub"))
    with pytest.raises(DataError, match="lists have no column 'toxic'"):
        read((["a"], ["b"]), label_columns=names)


def test_a_column_for_a_single_label(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,toxic\na,0\nb,1\n")
    assert [d.label for d in read(path, label_columns=("toxic",))] == [(), ("toxic",)]
    with pytest.raises(DataError, match=r"no column 'rude'.*name it with --reading\.label-columns"):
        read(path, label_columns=("rude",))
    with pytest.raises(DataError, match="lists have no column 'toxic'"):
        read((["a"], ["1"]), label_columns=("toxic",))


def test_a_key_that_is_not_there_is_a_missing_label(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "label": "x"}\n{"text": "b"}\n{"text": "c", "label": null}\n')
    reading = ReadingConfig(missing_label="unlabelled")
    assert [d.text for d in read_documents(path, reading, labelled=True)] == ["a"]
    assert [d.text for d in read_without_label(path, reading)] == ["b", "c"]
    with pytest.raises(DataError, match="row 2: no column 'label'"):
        list(read_documents(path, ReadingConfig(), labelled=True))


def test_rows_that_all_lack_a_label_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,\nb, \n")
    with pytest.raises(DataError) as caught:
        read(path, missing_label="unlabelled")
    assert str(caught.value) == (
        f"{path}, row 2: this and all other rows have no label; give some that have"
    )


def test_empty_lines_before_the_header_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n\ntext,label\na,x\n")
    assert [(d.text, d.label, d.row) for d in read(path)] == [("a", "x", 1)]


def test_an_integer_of_any_size_is_a_label(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "a", "label": {10**400}}}\n')
    assert [d.label for d in read(path)] == [str(10**400)]


def test_the_row_of_a_document_in_a_folder_is_its_file(tmp_path: Path) -> None:
    folder = tmp_path / "fold, row 5" / "neg"
    folder.mkdir(parents=True)
    (folder / "0.txt").write_text("a")
    assert [d.row for d in read(folder.parent)] == [f"{folder}/0.txt"]


def test_kept_values_are_plain_json(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "id": [1, {"b": "é"}], "far": 1e999}\n')
    documents = read_documents(path, READING, labelled=False, kept_columns=("id", "far"))
    assert [d.kept for d in documents] == [('[1, {"b": "é"}]', "inf")]


def test_lists_have_no_columns_to_keep() -> None:
    with pytest.raises(DataError, match="lists have no column 'id'"):
        list(read_documents(["a"], READING, labelled=False, kept_columns=("id",)))


def test_a_file_of_a_strange_name_is_a_document(tmp_path: Path) -> None:
    folder = tmp_path / "texts" / "good"
    folder.mkdir(parents=True)
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).write_text("a text")
    (document,) = read_documents(tmp_path / "texts", READING, labelled=True)
    assert document.where == f"{folder}/caf\ufffd.txt" and document.text == "a text"


def test_extra_column(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "valid": true}\n{"text": "b", "valid": 0}')
    documents = read_documents(path, READING, labelled=False, extra_column="valid")
    assert [d.extra for d in documents] == ["True", "0"]


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("pos", "pos"),
        (" pos", " pos"),
        (1, "1"),
        (1.0, "1"),
        (-0.5, "-0.5"),
        (np.int64(3), "3"),
        (np.float32(0.1), "0.1"),
        (Decimal("2.0"), "2"),
        (True, "True"),
        (np.bool_(False), "False"),
    ],
)
def test_labels_are_strings(label: object, name: str) -> None:
    assert read((["a"], [label]))[0].label == name


def test_labels_agree_between_a_data_frame_and_its_files(tmp_path: Path) -> None:
    for values in ([1, 0], [True, False], ["x", "y"]):
        frame = pd.DataFrame({"text": ["a", "b"], "label": values})
        frame.to_csv(tmp_path / "a.csv")
        frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
        frame.to_parquet(tmp_path / "a.parquet")
        found = {
            tuple(d.label for d in read(tmp_path / f"a.{s}")) for s in ("csv", "jsonl", "parquet")
        }
        assert found == {tuple(d.label for d in read(frame))}


def test_lone_surrogates_are_replaced_and_counted_or_refused(tmp_path: Path) -> None:
    escaped, encoded = tmp_path / "a.jsonl", tmp_path / "b.csv"
    escaped.write_text('{"text": "x\\ud800"}\n')
    encoded.write_text("text\nfine\ny\udfff\n", encoding="utf-8", errors="surrogatepass")
    check = UnicodeCheck(strict=False)
    documents = list(read_many([escaped, encoded], READING, labelled=False, unicode=check))
    assert [d.text for d in documents] == ["x\ufffd", "fine", "y\ufffd"]
    assert (check.replaced, check.first) == (2, f"{escaped}, row 1")
    encoded.write_text("text\n\0\udfff\n", encoding="utf-8", errors="surrogatepass")
    assert [d.text for d in read(encoded, labelled=False)] == ["\0\ufffd"]
    assert f"{encoded}, row 1: " in failure(encoded, labelled=False, strict=True)


def test_many_files_and_patterns(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "[c].txt"):
        (tmp_path / name).write_text(name)
    patterns: list[str | Path] = [tmp_path / "[c].txt", str(tmp_path / "?.txt")]
    documents = read_many(patterns, READING, labelled=False)
    assert [d.text for d in documents] == ["[c].txt", "a.txt", "b.txt"]
    with pytest.raises(DataError) as caught:
        expand(["no/*.txt"])
    assert str(caught.value) == "no/*.txt: no file matches the pattern; check the path"


def test_a_file_is_read_in_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    with gzip.open(path, "wt", compresslevel=1) as stream:
        stream.write("text\n")
        stream.writelines("word " * 100 + "\n" for _ in range(8_000))
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_documents(path, READING, labelled=False))
        assert (count, tracemalloc.get_traced_memory()[1] < 1_000_000) == (8_000, True)
    finally:
        tracemalloc.stop()


def test_a_very_long_field(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\n" + "x" * 1_000_000)
    assert [len(d.text) for d in read(path, labelled=False)] == [1_000_000]


def test_trec(shared_data: Path) -> None:
    documents = read(shared_data / "trec" / "train.csv")
    assert len(documents) == 5452
    assert documents[0].text == "How did serfdom develop in and then leave Russia ?"
    assert Counter(d.label for d in documents) == {
        "ENTY": 1250, "HUM": 1223, "DESC": 1162, "NUM": 896, "LOC": 835, "ABBR": 86,
    }  # fmt: skip


def test_imdb_parquet(shared_data: Path) -> None:
    labels = (
        d.label
        for d in read_documents(shared_data / "imdb" / "test.parquet", READING, labelled=True)
    )
    assert Counter(labels).most_common()[0][1] == 12_500


# --- what is refused: the whole message -----------------------------------------------------

CSV = "text,label\nfine,x\n"
FILES: list[tuple[str, bytes, dict[str, Any], str]] = [
    ("a.csv", b"", {}, "the file is empty; check that it was written completely"),
    ("a.csv.gz", gzip.compress(b""), {}, "the file is empty; check that it was written completely"),
    ("a.parquet", b"", {}, "the file is empty; check that it was written completely"),
    ("a.csv", b"text,label\n", {}, "a header but no rows; check that it was written completely"),
    ("a.txt", b"\n \n", {"labelled": False},
     "holds no documents; check that it was written completely"),
    ("a.jsonl", b"\n", {}, "holds no documents; check that it was written completely"),
    ("a.csv", b"txt,label\na,b\n", {},
     "no column 'text'; found 'txt', 'label'; the nearest is 'txt': "
     "name it with --reading.text-columns"),
    ("a.tsv", b"text\tclass\na\tb\n", {},
     "no column 'label'; found 'text', 'class': "
     "name it with --reading.label-column"),
    ("a.csv", b"\n\n", {},
     "no column 'text'; found none: name it with --reading.text-columns"),
    ("a.csv", b"\ntext,label\n", {}, "a header but no rows; check that it was written completely"),
    ("a.csv", b"text,text,label\na,b,c\n", {}, "column 'text' occurs twice; rename one of them"),
    ("a.csv", CSV.encode() + b"caf\xe9 au lait,x\n", {},
     "row 2: byte 0xe9 (after 'caf') does not decode as utf-8; give the file's encoding with "
     "--reading.encoding, for example latin-1"),
    ("a.txt", b"\xff", {"labelled": False},
     "row 1: byte 0xff (at the start) does not decode as utf-8; give the file's encoding with "
     "--reading.encoding, for example latin-1"),
    ("a.jsonl", b'{"text": "a", "label": "x"}\n{"text": "\xe9", "label": "x"}', {},
     "row 2: byte 0xe9 (after '{\"text\": \"') does not decode as utf-8; give the file's encoding "
     "with --reading.encoding, for example latin-1"),
    ("a.csv", CSV.encode(), {"encoding": "utf-16"},
     "does not decode as utf-16; give the file's encoding with --reading.encoding, "
     "for example latin-1"),
    ("a.csv", b"\x00\x01\xff\xfe", {},
     "a binary file, not text; give a file of text, or its encoding with --reading.encoding"),
    ("a.csv", bytes(100), {},
     "a binary file, not text; give a file of text, or its encoding with --reading.encoding"),
    ("a.csv", CSV.encode("utf-16"), {},
     "a binary file, not text; it looks like UTF-16: give --reading.encoding utf-16"),
    ("a.csv", b"PAR1\x00\x15\xff", {},
     "a binary file, not text; it looks like Parquet: give --reading.format parquet"),
    ("a.parquet", CSV.encode(), {},
     "cannot be read as Parquet; it is of another format (give --reading.format) "
     "or damaged (write it anew)"),
    ("a.csv.gz", gzip.compress(CSV.encode())[:-12], {},
     "the gzip file is cut off or damaged; write it anew"),
    ("a.parquet.gz", gzip.compress(CSV.encode())[:-12], {},
     "the gzip file is cut off or damaged; write it anew"),
    ("a.csv.gz", CSV.encode(), {}, "not a gzip file; rename it without .gz or write it anew"),
    ("a.csv", CSV.encode() + b"\na,b,c\n", {},
     "row 2 (line 4): 3 fields where the header has 2; quote a field that holds a comma"),
    ("a.tsv", b"text\tlabel\na\n", {},
     "row 1 (line 2): 1 fields where the header has 2; quote a field that holds a line break, or "
     "fill the row up"),
    ("a.tsv", b"text\tlabel\nfine\tx\n\"Hello\tham\nBye\"\tham\n", {},
     "row 2 (line 4): between quotes stand a tab and a line break; if quotes are text, and these "
     "rows, give --reading.quotes text; if they are a cell, --reading.quotes double"),
    ("a.csv", CSV.encode() + b'"never closed,x\n', {},
     "row 2 (line 3): unexpected end of data; quote such a field and write a quote inside it "
     "as two or, where quotes are text, give --reading.quotes text"),
    ("a.jsonl", b'{"text": "a", "label": 1}\n\n[1]\n', {},
     "row 3: found JSON of type list, not an object; write one object on each line"),
    ("a.jsonl", b'{"text": "a"', {},
     "row 1: not JSON (Expecting ',' delimiter: line 1 column 13 (char 12)); "
     "write one object on each line"),
    ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "a", "lable": 1}', {},
     "row 2: no column 'label'; found 'text', 'lable'; the nearest is 'lable': "
     "name it with --reading.label-column"),
    ("a.jsonl", b'{"text": NaN, "label": 1}', {},
     "row 1: the text is missing (NaN or null); leave the row out, or put an empty string for "
     "an empty document"),
    ("a.jsonl", b'{"text": null, "label": 1}', {},
     "row 1: the text is missing (NaN or null); leave the row out, or put an empty string for "
     "an empty document"),
    ("a.jsonl", b'{"text": 5, "label": 1}', {},
     "row 1: found 5 of type int as text; make it a string"),
    ("a.jsonl", b'{"text": "a", "label": {"b": 2}}', {},
     "row 1: found {'b': 2} of type dict as label; make it a string or a number"),
    ("a.jsonl", b'{"text": "a", "label": Infinity}', {},
     "row 1: found inf of type float as label; make it a string or a number"),
    ("a.csv", CSV.encode() + b"a,\n", {},
     "row 2: the label is missing (empty, NaN or null); fill it in, leave the row out or, to learn "
     "from its text alone, give --reading.missing-label unlabelled"),
    ("a.jsonl", b'{"text": "a", "label": NaN}', {},
     "row 1: the label is missing (empty, NaN or null); fill it in, leave the row out or, to learn "
     "from its text alone, give --reading.missing-label unlabelled"),
    ("a.txt", b"a\n", {},
     "plain text has no columns, but 'text', 'label' are asked for; "
     "give a .csv, .tsv, .jsonl or .parquet file"),
    ("a.data", b"a\n", {},
     "the name does not tell the format; give --reading.format csv, tsv, jsonl, parquet or text"),
    ("a.xlsx", b"PK", {}, "a spreadsheet; save its sheet as CSV (UTF-8), and give that"),
    ("a.csv", b"a\n", {"format": "folder"},
     "a file, not a folder; leave out --reading.format folder"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "contents", "how", "message"), FILES)
def test_message_for_a_file(
    tmp_path: Path, name: str, contents: bytes, how: dict[str, Any], message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(contents)
    separator = ", " if message.startswith("row") else ": "
    assert failure(path, **how) == f"{path}{separator}{message}"


def test_message_for_a_missing_file(tmp_path: Path) -> None:
    assert failure("no.csv") == "no.csv: no such file; check the path"
    assert failure("no.x", format="csv") == "no.x: no such file; check the path"


def test_message_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    assert failure(tmp_path) == (
        f"{tmp_path}: a folder without sub-folders; give a file, or a folder with a sub-folder for "
        "each class; where several files may be given, a pattern such as 'folder/*.csv' too"
    )
    assert failure(tmp_path, format="csv") == (
        f"{tmp_path}: a folder, not a csv file; give a file in it"
    )
    assert failure(tmp_path, text_columns=("title", "body")) == (
        f"{tmp_path}: a folder has no columns, but 'title', 'body', 'label' are asked for; "
        "give a .csv, .tsv, .jsonl or .parquet file"
    )
    (tmp_path / "pos").mkdir()
    assert failure(tmp_path) == (
        f"{tmp_path / 'pos'}: found nothing; the folder of a class must hold documents, a file each"
    )
    (tmp_path / "pos" / "more").mkdir()
    assert failure(tmp_path).startswith(f"{tmp_path / 'pos'}: found the folder 'more'; the folder")
    (tmp_path / "pos" / "more").rmdir()
    (tmp_path / "pos" / "1.txt").write_bytes(b"na\xefve")
    assert failure(tmp_path) == (
        f"{tmp_path / 'pos' / '1.txt'}: byte 0xef (after 'na') does not decode as utf-8; "
        "give the file's encoding with --reading.encoding, for example latin-1"
    )


def test_message_for_parquet_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a"] * 300 + [None], "label": [1] * 301}), path)
    assert failure(path) == (
        f"{path}, row 301: the text is missing (NaN or null); leave the row out, "
        "or put an empty string for an empty document"
    )
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"a\xe9")]
    )
    pq.write_table(pa.table({"text": broken}), path)
    assert failure(path, labelled=False) == (
        f"{path}, row 2: byte 0xe9 is not UTF-8, as Parquet asks for; write the file anew"
    )
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), path)
    assert failure(path, labelled=False) == (
        f"{path}: holds no documents; check that it was written completely"
    )
    path.write_bytes(path.read_bytes()[:-20])
    assert "cannot be read as Parquet" in failure(path, labelled=False)


MISSING = "the text is missing (NaN or null); leave the row out, or put an empty string for"
NO_LABEL = (
    "the label is missing (empty, NaN or null); fill it in, leave the row out or, to learn from "
    "its text alone, give --reading.missing-label unlabelled"
)


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT])
def test_message_for_missing_values(missing: object) -> None:
    assert failure(["a", missing], labelled=False) == f"texts, row 2: {MISSING} an empty document"
    assert failure((["a", "b"], ["x", missing])) == f"texts, row 2: {NO_LABEL}"
    frame = pd.DataFrame({"text": ["a", missing], "label": ["x", "y"]})
    assert failure(frame) == f"data frame, row 2: {MISSING} an empty document"


@pytest.mark.parametrize(
    ("source", "labelled", "message"),
    [
        (["a", 5], False, "texts, row 2: found 5 of type int as text; make it a string"),
        ([b"a"], False, "texts, row 1: found b'a' of type bytes as text; make it a string"),
        ([("a", "b"), "c"], False,
         "texts, row 2: found a single value, but row 1 is a tuple of 2; "
         "give each document the same number of texts"),
        (["a", ("b", "c")], False,
         "texts, row 2: found a tuple of 2, but row 1 is a single value; "
         "give each document the same number of texts"),
        ([()], False, "texts, row 1: an empty tuple; give at least one text"),
        (["a"], True, "texts: a list without labels; give a pair (texts, labels)"),
        ((["a", "b"], ["x"]), True,
         "texts, row 2: no label, there are only 1; give one for each text"),
        ((["a"], ["x", "y"]), True,
         "texts: 1 texts but 2 labels; give one label for each text"),
        (5, False,
         "found int where documents were expected; give a path, a list of texts, "
         "a pair (texts, labels) or a data frame"),
        ({"text": ["a"]}, False,
         "found dict where documents were expected; give a path, a list of texts, "
         "a pair (texts, labels) or a data frame"),
        (pd.DataFrame({"body": ["a"]}), False,
         "data frame: no column 'text'; found 'body': "
         "name it with --reading.text-columns"),
    ],
)  # fmt: skip
def test_message_for_a_value(source: object, labelled: bool, message: str) -> None:
    assert failure(source, labelled=labelled) == message


def test_message_for_an_extra_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,valid\na,\n")
    for source, column, message in (
        (path, "valdi", f"{path}: no column 'valdi'; found 'text', 'valid'; the nearest is "
                        "'valid': name it with --validation.column"),
        (path, "valid", f"{path}, row 1: the value of 'valid' is missing (empty, NaN or null); "
                        "fill it in, or leave the row out"),
        (["a"], "valid", "texts: lists have no column 'valid'; give a file or a data frame"),
    ):  # fmt: skip
        with pytest.raises(DataError) as caught:
            list(read_documents(source, READING, labelled=False, extra_column=column))
        assert str(caught.value) == message


def test_message_for_an_unknown_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(CSV)
    for encoding in ("utf-99", "hex"):
        with pytest.raises(ConfigError) as caught:
            read(path, encoding=encoding)
        assert str(caught.value) == (
            f"setting 'reading.encoding': unknown encoding {encoding!r}; "
            "give one that Python knows, for example utf-8, latin-1 or cp949"
        )


# Documents of several rows


def test_rows_are_joined_to_the_document_they_follow(tmp_path: Path) -> None:
    path = tmp_path / "wiki.txt"
    path.write_text(" = One = \n\n text \n = = Part = = \nmore\n = Two = \n", "utf-8")
    reading = ReadingConfig(document_start=r" = [^=].* = $")
    found = list(read_documents(path, reading, labelled=False))
    assert [document.text for document in found] == [
        " = One = \n text \n = = Part = = \nmore",
        " = Two = ",
    ]
    assert [document.where for document in found] == [f"{path}, row 1", f"{path}, row 6"]


def test_line_ends_in_rows_are_not_doubled(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = ["", " = One = \n", "", "text \n", " = Two = \n"]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows), "utf-8")
    reading = ReadingConfig(document_start=" = ")
    found = read_documents(path, reading, labelled=False)
    assert [document.text for document in found] == ["", " = One = \n\ntext ", " = Two = "]


def test_what_stands_before_the_first_start_is_a_document(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text\nbefore\n#1\nx\n", "utf-8")
    reading = ReadingConfig(document_start="#")
    found = read_documents(path, reading, labelled=False)
    assert [document.text for document in found] == ["before", "#1\nx"]


@pytest.mark.parametrize(
    ("reading", "labelled", "message"),
    [
        (ReadingConfig(document_start="("), False, r"'\(' is not a regular expression"),
        (ReadingConfig(document_start="="), True, "without labels; found the columns text, label"),
    ],
)
def test_documents_of_rows_that_cannot_be_are_refused(
    reading: ReadingConfig, labelled: bool, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nx,y\n", "utf-8")
    with pytest.raises(ConfigError, match=message):
        list(read_documents(path, reading, labelled=labelled))


# Weights


def test_weights_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("w,text,label\n0.5,x,a\n2,y,b\n0,z,b\n", "utf-8")
    reading = ReadingConfig(weight_column="w")
    found = list(read_documents(path, reading, labelled=True, weighted=True))
    assert [document.weight for document in found] == [0.5, 2.0, 0.0]
    unweighted = read_documents(path, reading, labelled=True)
    assert [document.weight for document in unweighted] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("weight", ["", "heavy", "-1", "nan", "inf"])
def test_a_wrong_weight_is_named(weight: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"w,text,label\n1,x,a\n{weight},y,b\n", "utf-8")
    reading = ReadingConfig(weight_column="w")
    with pytest.raises(DataError) as caught:
        list(read_documents(path, reading, labelled=True, weighted=True))
    assert str(caught.value) == (
        f"{path}, row 2: found {weight!r} as weight; make it a number from 0 to 1e+100"
    )


def test_a_missing_weight_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nx,a\n", "utf-8")
    with pytest.raises(DataError, match=r"no column 'w'.*name it with --reading\.weight-column"):
        list(read_documents(path, ReadingConfig(weight_column="w"), labelled=True, weighted=True))
    with pytest.raises(DataError, match="lists have no column 'w'"):
        weighted = ReadingConfig(weight_column="w")
        list(read_documents((["x"], ["a"]), weighted, labelled=True, weighted=True))


# Delimiters


def test_cells_may_stand_between_other_characters(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text('text;label\n"one; two";a\nthree, four;b\n')
    reading = ReadingConfig(delimiter=";")
    found = [(d.text, d.label) for d in read_documents(path, reading, labelled=True)]
    assert found == [("one; two", "a"), ("three, four", "b")]


@pytest.mark.parametrize("note", ["sep=;", '"sep=;"'])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_first_line_may_tell_where_cells_end(tmp_path: Path, note: str, end: str) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes("\ufeff".encode() + end.join([note, "text;label", "a, b;x", "c"]).encode())
    documents = read_documents(path, ReadingConfig(), labelled=True)
    found = next(documents)
    assert (found.text, found.label, found.row) == ("a, b", "x", 1)
    told = r"row 2 \(line 4\): 1 fields .* has 2; .* a line break, or fill the row up$"
    with pytest.raises(DataError, match=told):
        next(documents)


def test_quotes_may_be_text(tmp_path: Path) -> None:
    path = tmp_path / "in.tsv"
    path.write_text('text\tlabel\n"Hello\tham\nBye"\tham\n5" pipe\tspam\n')
    found = read_documents(path, ReadingConfig(quotes="text"), labelled=True)
    assert [(d.text, d.label) for d in found] == [
        ('"Hello', "ham"), ('Bye"', "ham"), ('5" pipe', "spam")
    ]  # fmt: skip
    path.write_text('text\tlabel\n"a\tb\nc"\tx\n')
    found = read_documents(path, ReadingConfig(quotes="double"), labelled=True)
    assert [(d.text, d.label) for d in found] == [("a\tb\nc", "x")]


def test_a_pattern_or_a_text_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    assert failure(tmp_path / "*.csv").endswith("no such file; give one file, not a pattern")
    assert failure("word " * 100).endswith("no such file; check the path")


def test_a_delimiter_that_is_set_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("sep=;\ntext,label\na;b,x\n")
    found = read_documents(path, ReadingConfig(delimiter=","), labelled=True)
    assert [(d.text, d.label) for d in found] == [("a;b", "x")]


@pytest.mark.parametrize(
    ("delimiter", "said"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")]
)
@pytest.mark.parametrize("names", [("text", "label"), ("Body", "Topic or Team")])
def test_another_delimiter_is_named(
    tmp_path: Path, delimiter: str, said: str, names: tuple[str, str]
) -> None:
    path = tmp_path / "in.csv"
    header = delimiter.join(names)
    path.write_text(f"{header}\none{delimiter}a\n")
    with pytest.raises(DataError) as error:
        list(read_documents(path, ReadingConfig(), labelled=True))
    shown = "$'\\t'" if delimiter == "\t" else f"'{delimiter}'"
    assert str(error.value) == (
        f"{path}: there is one column, {header!r}; if its cells end at {said}, "
        f"give --reading.delimiter {shown}"
    )


def test_columns_are_handed_on_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,text,note\n01,one,\n2,two,x\n")
    found = read_documents(
        path, ReadingConfig(), labelled=False, kept_columns=("note", "id", "text")
    )
    assert [d.kept for d in found] == [("", "01", "one"), ("x", "2", "two")]
    with pytest.raises(DataError, match=r"no column 'name'.*--keep"):
        list(read_documents(path, ReadingConfig(), labelled=False, kept_columns=("name",)))
