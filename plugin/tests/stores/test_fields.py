from __future__ import annotations

from typing import Any

import pytest

from lusifer.errors import InvalidInputError
from lusifer.stores.fields import FieldRules, parse_rules

FIELDS: dict[str, Any] = {
    "title": "T", "body": {"text": "B", "html": "<b>"}, "a.b": "flat", "year": 2020, "tags": ["x", "y"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        (FieldRules("title"), "T"),
        (FieldRules("body.text"), "B"),
        (FieldRules("a.b"), "flat"),
        (FieldRules("year"), 2020),
        (FieldRules("absent"), None),
        (FieldRules("title.text"), None),
        (FieldRules(template="{title}\n{body.text}"), "T\nB"),
        (FieldRules(template="{title}, {absent}"), "T,"),
        (FieldRules(template="{year}: {tags}"), "2020: x, y"),
        (FieldRules(template="{absent} {missing}"), None),
    ],
)
def test_a_text_is_found(rules: FieldRules, text: object) -> None:
    assert rules.find_text(FIELDS) == text


def test_fields_are_dropped_and_renamed() -> None:
    rules = FieldRules("body.text", drop=frozenset({"tags", "a.b"}), rename={"title": "name"})
    kept = {"name": "T", "body": {"html": "<b>"}, "year": 2020}
    assert rules.without_text(FIELDS) == kept
    assert rules.kept(FIELDS) == {**kept, "body": FIELDS["body"]}
    assert FieldRules(drop=frozenset({"body.html"})).kept(FIELDS)["body"] == {"text": "B"}
    # A template's fields are others' values too.
    assert FieldRules(template="{title}").without_text(FIELDS) == FIELDS


def test_no_field_takes_the_name_of_another() -> None:
    with pytest.raises(InvalidInputError) as refused:
        FieldRules(rename={"year": "title"}).kept(FIELDS)
    assert refused.value.message == (
        "The field 'year' is to be renamed to 'title', and there is such a field."
    )
    assert (
        FieldRules(drop=frozenset({"title"}), rename={"year": "title"}).kept(FIELDS)["title"]
        == 2020
    )
    swapped = FieldRules(rename={"year": "title", "title": "year"}).kept(FIELDS)
    assert (swapped["title"], swapped["year"]) == (2020, "T")
    assert FieldRules(rename={"absent": "title"}).kept(FIELDS) == FIELDS


def test_records_that_rules_were_applied_to_have_rules_of_their_own() -> None:
    rules = FieldRules(
        "body.text", "{title} {body.text}", frozenset({"year"}), {"title": "name", "body": "b"}
    )
    after = rules.after()
    assert after == FieldRules("b.text", "{name} {b.text}")
    assert after.find_text(rules.kept(FIELDS)) == rules.find_text(FIELDS)


def test_options_are_parsed() -> None:
    rules = parse_rules("x", r"{a}\n{b}\t", ["c"], ["d=e=f"])
    assert rules == FieldRules("x", "{a}\n{b}\t", frozenset({"c"}), {"d": "e=f"})
    assert (rules.text_fields, FieldRules("x").text_fields) == (["a", "b"], ["x"])
    assert (rules.property_name, FieldRules("x").property_name) == ("text", "x")
    assert FieldRules("x.y").property_name == "text"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rename": ["old"]}, "--rename 'old' names no two fields."),
        ({"rename": ["=new"]}, "--rename '=new' names no two fields."),
        ({"rename": ["a=c", "b=c"]}, "Two fields are renamed to 'c'."),
        ({"template": "no field"}, "--template 'no field' names no field."),
        ({"template": "{a} {}"}, "--template '{a} {}' names no field."),
    ],
)
def test_options_that_say_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        parse_rules(**options)
    assert refused.value.message == message
