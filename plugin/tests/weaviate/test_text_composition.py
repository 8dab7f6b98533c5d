"""Texts as Weaviate composes them, against what the real server sent."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugin.tests.weaviate.recorded_texts import COLLECTION, OBJECTS, SENT, SETTINGS, data_types

from lusifer.weaviate.text_composition import (
    TextRules,
    compose_text,
    go_float,
    property_name,
    split_camel_case,
)


def rules(setting: str) -> TextRules:
    given = SETTINGS[setting]
    return TextRules(
        collection=COLLECTION,
        source_properties=tuple(given["source_properties"] or ()),
        vectorize_collection_name=given.get("vectorize_collection_name", False),
        skipped=frozenset(given.get("skipped", ())),
        named=frozenset(given.get("named", ())),
        data_types=data_types(),
        lower_case=given.get("lower_case", False),
    )


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_text_is_the_one_recorded_from_the_server(setting: str) -> None:
    assert [compose_text(each, rules(setting)) for each in OBJECTS] == SENT[setting]


def test_the_recording_holds_every_kind_of_property() -> None:
    seen = {property_name(name) for each in OBJECTS for name in each}
    assert seen == {name for name in data_types() if "." not in name}
    assert {len(texts) for texts in SENT.values()} == {len(OBJECTS)}


def test_without_sources_and_texts_the_collection_gives_its_name() -> None:
    assert compose_text({"n": 1}, TextRules("MyArticles")) == "My Articles"
    assert compose_text({"n": 1}, TextRules("MyArticles", source_properties=("text",))) == ""


# Printed by Go 1.26: fmt.Sprintf("%v", x) and json.Marshal(x).
GO_FLOATS = [
    (0.0, "0", "0"), (1.0, "1", "1"), (2001.0, "2001", "2001"), (999999.0, "999999", "999999"),
    (1e6, "1e+06", "1000000"), (1234567.0, "1.234567e+06", "1234567"), (2e7, "2e+07", "20000000"),
    (1e16, "1e+16", "10000000000000000"), (1e20, "1e+20", "100000000000000000000"), (1e21, "1e+21", "1e+21"),
    (123456789.125, "1.23456789125e+08", "123456789.125"), (0.1, "0.1", "0.1"), (0.0001, "0.0001", "0.0001"),
    (0.00001, "1e-05", "0.00001"), (2.5e-7, "2.5e-07", "2.5e-7"), (1e-7, "1e-07", "1e-7"),
    (-1.5e-5, "-1.5e-05", "-0.000015"), (5e-324, "5e-324", "5e-324"),
    (1.7976931348623157e308, "1.7976931348623157e+308", "1.7976931348623157e+308"),
    (0.30000000000000004, "0.30000000000000004", "0.30000000000000004"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "plain", "in_json"), GO_FLOATS)
def test_numbers_are_written_as_go_writes_them(value: float, plain: str, in_json: str) -> None:
    assert go_float(value) == plain
    sources = TextRules("A", source_properties=("o",))
    assert compose_text({"o": {"n": value}}, sources) == f'{{"n":{in_json}}}'


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_written_numbers_read_back_exactly(value: float) -> None:
    assert float(go_float(value)) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        go_float(value)


# The examples of github.com/fatih/camelcase, joined as Weaviate does.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", ""),
        ("lowercase", "lowercase"),
        ("Class", "Class"),
        ("MyClass", "My Class"),
        ("MyC", "My C"),
        ("HTML", "HTML"),
        ("PDFLoader", "PDF Loader"),
        ("AString", "A String"),
        ("SimpleXMLParser", "Simple XML Parser"),
        ("vimRPCPlugin", "vim RPC Plugin"),
        ("GL11Version", "GL 11 Version"),
        ("99Bottles", "99 Bottles"),
        ("May5", "May 5"),
        ("BFG9000", "BFG 9000"),
        ("BöseÜberraschung", "Böse Überraschung"),
        ("sub_title", "sub _ title"),
    ],
)
def test_names_are_split_as_weaviate_splits_them(name: str, expected: str) -> None:
    assert split_camel_case(name) == expected


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)
PROPERTIES = st.dictionaries(NAMES.map(property_name), st.text(), min_size=1, max_size=6)


@given(PROPERTIES, st.randoms())
def test_the_order_of_properties_and_sources_does_not_count(
    properties: dict[str, str], random: object
) -> None:
    names = list(properties)
    random.shuffle(names)  # type: ignore[attr-defined]
    shuffled = {name: properties[name] for name in names}
    one = compose_text(properties, TextRules("A", source_properties=tuple(properties)))
    assert one == compose_text(shuffled, TextRules("A", source_properties=tuple(names)))
    assert one == " ".join(properties[name] for name in sorted(properties, key=str.encode))


@given(NAMES)
def test_a_split_name_keeps_every_letter(name: str) -> None:
    assert split_camel_case(name).replace(" ", "") == name


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e300, 1e300) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, min_size=1, max_size=4))
def test_objects_become_json_that_reads_back(value: dict[str, object]) -> None:
    text = compose_text({"o": value}, TextRules("A", source_properties=("o",)))
    assert json.loads(text, parse_int=float) == value
    assert not set("<>&") & set(text)
