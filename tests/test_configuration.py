"""Whatever a file holds: its values, or an ExperimentError, and soon."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from safetycatch.configuration import (
    MAX_DEPTH,
    MAX_FILE_BYTES,
    MAX_NODES,
    build,
    near_file,
    nearest,
    parse_mapping,
    read_text,
)
from safetycatch.errors import ExperimentError
from safetycatch.experiment import load_experiment

YAML_LIKE = st.lists(
    st.sampled_from(
        [*"ab:-,[]{}&*!|>'\"%@`?#~\n \t\\", "\n  ", ": ", "- ", "<<", "!!python/object:os.system", "\\ud800"]
    ),
    max_size=40,
).map("".join)


def values(text):
    return parse_mapping(text, "x.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "007",
        "12:30",
        "1_000",
        "0x1F",
        "0o17",
        "yes",
        "no",
        "on",
        "off",
        "y",
        "2024-01-01",
        "1.2.3",
        "=",
        "<<",
        "1e",
        ".",
    ],
)
def test_what_looks_like_text_is_text(text):
    assert values(f"a: {text}") == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [("2e-4", 2e-4), ("1.5", 1.5), (".5", 0.5), ("-3", -3), ("0", 0), ("true", True), ("False", False), ("~", None)],
)
def test_numbers_and_booleans_are_read(text, value):
    found = values(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))


def test_keys_are_text():
    assert values("5: a\n?\ntrue: b") == {"5": "a", "": None, "true": "b"}


def test_quotes_make_text():
    assert values("a: 'true'\nb: \"5\"") == {"a": "true", "b": "5"}


BOMB = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "an empty file"),
        ("# only a comment", "an empty file"),
        ("- a", "a list"),
        ("a", "a str"),
        ("a: 1\na: 2", "line 2: the key 'a' twice"),
        ("a: {b: 1, b: 2}", "line 1: the key 'b' twice"),
        ("? [a]\n: b", "a key that is not text"),
        ("a: &x 1", "anchor or alias"),
        ("a: *x", "anchor or alias"),
        (BOMB, "anchor or alias"),
        ("a: !!python/object/apply:os.system [ls]", "line 1: a YAML tag"),
        ("a: !local x", "a YAML tag"),
        ("a: !!binary aGk=", "a YAML tag"),
        ("a: 1\n---\nb: 1", "another document"),
        ("a: [", "not valid YAML"),
        ("a: \tb: c", "not valid YAML"),
        ('a: "\\0"', "line 1: the character U+0000"),
        ('a: "\\e[31m"', "the character U+001B"),
        ('"\\x9b": 1', "the character U+009B"),
        ('a: "\\ud83d"', "the character U+D83D"),
        ("a: \0", "special characters are not allowed"),
        ("a: " + "9" * 5000, "a number of 5000 digits"),
        ("%YAML 9.9\n---\na: 1", "incompatible"),
    ],
)
def test_what_is_refused_is_named(text, said):
    with pytest.raises(ExperimentError) as caught:
        values(text)
    assert said in str(caught.value)
    assert str(caught.value).startswith("x.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "? " * 100_000,
        "a: [\n" * 100_000,
        "!" * 500_000,
        "&" + "a" * 500_000,
        "a: " + "[]," * 200_000,
        "".join(f"k{number}: 1\n" for number in range(MAX_NODES)),
    ],
    ids=lambda text: text[:8],
)
def test_hostile_documents_are_refused_soon(text):
    start = time.process_time()
    with pytest.raises(ExperimentError):
        values(text)
    assert time.process_time() - start < 10


def test_nesting_is_allowed_up_to_the_limit():
    deep = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert values(f"a: {deep}")
    with pytest.raises(ExperimentError, match="deeper than 20"):
        values(f"a: [{deep}]")


@given(st.text() | YAML_LIKE)
def test_any_text_is_read_or_refused(text):
    try:
        found = values(text)
    except ExperimentError as error:
        str(error).encode()
    else:
        assert all(isinstance(key, str) for key in found)


@given(st.binary(max_size=300) | YAML_LIKE.map(str.encode))
def test_any_bytes_are_an_experiment_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_bytes(content)
    with pytest.raises(ExperimentError):
        load_experiment(path)


def test_a_byte_order_mark_is_skipped(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbfa: 1")
    assert values(read_text(tmp_path / "x.yaml")) == {"a": 1}


def test_a_large_file_is_refused_unread(tmp_path):
    path = tmp_path / "x.yaml"
    with path.open("wb") as stream:
        stream.truncate(50_000_000)
    with pytest.raises(ExperimentError, match=r"50,000,000 bytes\n  expected at most 1,000,000"):
        read_text(path)


def test_a_file_may_be_as_large_as_the_limit(tmp_path):
    (tmp_path / "x.yaml").write_text("a" * MAX_FILE_BYTES, encoding="utf-8")
    assert len(read_text(tmp_path / "x.yaml")) == MAX_FILE_BYTES


def test_files_that_are_not_text_are_refused(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"a: \xff")
    with pytest.raises(ExperimentError, match="not UTF-8 at byte 3"):
        read_text(tmp_path / "x.yaml")
    with pytest.raises(ExperimentError, match="not a file"):
        read_text(tmp_path)


def test_a_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "tickets.yaml").touch()
    with pytest.raises(ExperimentError, match=r"tickts\.yaml: no such file\n  fix      .*tickets\.yaml"):
        read_text(tmp_path / "tickts.yaml")


@pytest.mark.parametrize(
    ("word", "found"), [("modles", "models"), ("MODELS", "models"), ("xyz", None), ("m" * 900_000, None)]
)
def test_nearest(word, found):
    assert nearest(word, ["models", "prompts"]) == found


class Inner(BaseModel):
    model_config = {"extra": "forbid", "strict": True}
    size: int = 1


class Outer(BaseModel):
    model_config = {"extra": "forbid", "strict": True}
    name: str
    inner: Inner = Inner()
    parts: list[Inner] = []
    words: list[str] | dict[str, list[str]] = []


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("e/exmple.yaml", "e/example.yaml"),
        ("ee/example.yaml", "e/example.yaml"),
        ("example.yaml", "e/example.yaml"),
        ("e/unlike", ""),
        ("ee/other.yaml", ""),
        ("no/such/example.yaml", ""),
    ],
)
def test_a_missing_file_has_a_near_one(tmp_path, asked, meant):
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "example.yaml").write_text("")
    assert near_file(tmp_path / asked) == (str(tmp_path / meant) if meant else "")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({}, "f.yaml: no 'name'\n  expected name: …"),
        ({"name": 5}, 'f.yaml: name: found 5\n  expected text: "5" in quotes'),
        ({"name": None}, "f.yaml: name: no value\n  expected text"),
        ({"name": "a", "inner": 3}, "f.yaml: inner: found 3\n  expected keys and values"),
        (
            {"name": "a", "inner": {"sise": 3}},
            "inner.sise: unknown key 'sise'\n  expected one of size\n  fix      did you mean 'size'?",
        ),
        ({"name": "a", "parts": [{}, {"size": "x"}]}, "f.yaml: parts[1].size: found 'x'\n  expected a whole number"),
        ({"name": "a", "parts": {}}, "f.yaml: parts: found {}\n  expected a list, such as [a, b]"),
        ({"name": "a", "words": [7]}, 'f.yaml: words[0]: found 7\n  expected text: "7" in quotes'),
    ],
)
def test_errors_name_file_key_found_and_expected(written, said):
    with pytest.raises(ExperimentError) as caught:
        build(Outer, written, "f.yaml")
    assert said in str(caught.value)


def test_a_long_value_is_cut():
    with pytest.raises(ExperimentError, match=r"… \(900,002 characters\)") as caught:
        build(Outer, {"name": "a", "inner": {"size": "x" * 900_000}}, "f.yaml")
    assert len(str(caught.value)) < 400


def test_planned_keys_say_not_yet():
    with pytest.raises(ExperimentError, match=r"f\.yaml: judge: 'judge' is planned but not built yet\n  fix      wait"):
        build(Outer, {"name": "a", "judge": {}}, "f.yaml", {"judge": "wait"})
