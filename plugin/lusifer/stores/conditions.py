"""Conditions on metadata fields: one syntax and one meaning for all stores.

::

    lang=en                       the field is this text; a list holds it
    year:=2020  open:=true        the field is this number or truth value
    lang:=["de","fr"]             the field is one of these
    lang!=en    year:!=2020       the field is another, or the document has none
    year>=2020  day<2024-03-01    a number or a date lies in the range
    author.name=Ada               a field inside an object, or inside the objects of a list
    "a.b"=x     "x=y"=1           names with dots, brackets, operators or quotes are quoted

Without a schema, a misspelt field would find nothing in silence. :func:`check_fields` compares the
conditions with the fields that documents have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from lusifer.errors import InvalidInputError
from lusifer.types import Condition

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from lusifer.types import JSON, SearchOptions

__all__ = [
    "Question",
    "answer_questions",
    "as_datetime",
    "check_condition",
    "check_fields",
    "conditions_of",
    "filters_of",
    "missing_field",
    "needs_check",
    "parse_condition",
    "parse_path",
    "path_text",
    "values_at",
    "wrong_type",
]

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_CONDITION = re.compile(
    rf"(?P<path>(?:{_QUOTED}|.)+?)(?<!:)(?P<json>:?)(?P<operator>!=|<=|>=|=|<|>)(?P<value>.*)",
    re.DOTALL,
)
_PART = re.compile(rf"{_QUOTED}(?=\.|$)|[^.]+")
_PLAIN = re.compile(r'[^.<>=!"\[\]]*[^.<>=!:"\[\]]')
_FIELDS_SHOWN = 20
_SYNTAX = 'Write FIELD=TEXT, FIELD!=TEXT, FIELD:=JSON, FIELD>=NUMBER, or "FIELD"=TEXT with quotes.'


def parse_condition(text: str) -> Condition:
    """Return the condition that a text such as ``year>=2020`` states.

    Raises:
        InvalidInputError: It is no condition, or its value is not JSON or can't be compared.
    """
    found = _CONDITION.fullmatch(text)
    if not found:
        raise InvalidInputError(f"{text!r} is no condition.", next_step=_SYNTAX)
    operator, raw = found["operator"], found["value"]
    value: JSON = raw
    if found["json"]:
        try:
            value = json.loads(raw)
        except ValueError as error:
            raise InvalidInputError(
                f"The condition {text!r}: {raw!r} is not JSON: {error}.",
                next_step='Write a number, true, or a list such as ["de","fr"].',
            ) from error
    elif operator not in {"=", "!="} and re.fullmatch(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", raw):
        value = json.loads(raw) if not re.match(r"-?0\d", raw) else float(raw)
    condition = Condition(parse_path(found["path"]), operator, value)  # type: ignore[arg-type]
    check_condition(condition)
    return condition


def parse_path(text: str) -> tuple[str, ...]:
    """Return the names that a path such as ``author.name`` or ``"a.b".c`` consists of.

    Raises:
        InvalidInputError: A name is empty, or has brackets without quotes.
    """
    parts: list[str] = []
    position = 0
    while found := _PART.match(text, position):
        name = found[0]
        if name.startswith('"') and name.endswith('"') and len(name) > 1:
            try:
                name = str(json.loads(name, strict=False))
            except ValueError:
                name = name[1:-1]
        elif re.search(r"[\[\]]", name):
            raise InvalidInputError(
                f"The field {text!r} names a place in a list.",
                next_step="Leave the brackets out: a condition on a list holds where one of its "
                "items fits. Put a name that has brackets into double quotes.",
            )
        parts.append(name)
        position = found.end()
        if position == len(text):
            return tuple(parts)
        position += 1
    raise InvalidInputError(
        f"The field {text!r} has an empty name.",
        next_step='Write FIELD, or OUTER.INNER for a field inside an object; "" is an empty name.',
    )


def path_text(path: Sequence[str]) -> str:
    """Return a path as it is written in a condition."""
    return ".".join(
        name if _PLAIN.fullmatch(name) else json.dumps(name, ensure_ascii=False) for name in path
    )


def conditions_of(options: SearchOptions) -> list[Condition]:
    """Return all conditions that a document must meet; those of ``where`` come first.

    Raises:
        InvalidInputError: A path can't be read, or a value can't be compared.
    """
    conditions = filters_of(options.where)
    if options.languages and not options.language_boost:
        language = Condition(parse_path(options.language_field), "=", list(options.languages))
        conditions.append(language)
    return conditions


def filters_of(where: Mapping[str, JSON] | Sequence[Condition]) -> list[Condition]:
    """Return the conditions of a mapping of paths to values, or the given ones.

    Raises:
        InvalidInputError: A path can't be read, or a value can't be compared.
    """
    conditions = (
        [Condition(parse_path(path), "=", value) for path, value in where.items()]
        if isinstance(where, Mapping)
        else list(where)
    )
    for each in conditions:
        check_condition(each)
    return conditions


def check_condition(condition: Condition) -> None:
    """Refuse a value that no store compares with.

    Raises:
        InvalidInputError: It is no text, number or truth value, or a list that is empty or mixed;
            or the ends of a range are neither a number nor a date.
    """
    value, name = condition.value, path_text(condition.path)
    if condition.operator not in {"=", "!="}:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number or (isinstance(value, str) and as_datetime(value) is not None):
            return
        raise InvalidInputError(
            f"The filter on {name!r} compares a range with {value!r}.",
            next_step="Compare with a number, or a date such as 2024-03-01 or "
            "2024-03-01T12:00:00+01:00.",
        )
    if isinstance(value, bool | int | float | str):
        return
    if isinstance(value, list | tuple) and {type(item) for item in value} in ({str}, {int}):
        return
    raise InvalidInputError(
        f"The filter on {name!r} has the value {value!r}.",
        next_step="Compare with a text, a number, true or false, or a list of texts or of whole "
        "numbers.",
    )


def as_datetime(text: str) -> datetime | None:
    """Return the time that a text in ISO 8601 names, by default in UTC; None for other texts."""
    if not re.match(r"\d{4}-\d\d-\d\d", text):
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


class Question(NamedTuple):
    """A question about the documents that a store holds."""

    kind: Literal["values", "documents", "matches"]
    """``values`` asks for the metadata of some documents that have the field, ``documents`` for
    that of any, ``matches`` for that of one that meets the condition."""
    condition: Condition


def needs_check(options: SearchOptions, *, found: bool) -> bool:
    """Return whether a search may have found too little or too much by a misspelt field."""
    conditions = conditions_of(options)
    if not found:
        return bool(conditions) or options.group_by is not None
    return options.language_boost > 0 or any(each.operator == "!=" for each in conditions)


def check_fields(
    options: SearchOptions,
) -> Generator[Question, Sequence[Mapping[str, JSON]], None]:
    """Refuse a field that no document has, or a condition of a type that the field never has.

    It asks about the documents and is sent their metadata, so that it serves clients that wait and
    those that don't. :func:`answer_questions` drives it.

    Raises:
        InvalidInputError: A condition compares with nothing that is there.
    """
    for condition in _fields_of(options):
        found = yield Question("values", condition)
        values = [value for each in found for value in values_at(each, condition.path)]
        if not values:
            documents = yield Question("documents", condition)
            if not documents:
                return
            raise missing_field(condition.path, _field_types(documents))
        if condition.value is not None and not any(_comparable(v, condition) for v in values):
            positive = replace(condition, operator="=") if condition.operator == "!=" else condition
            if not (yield Question("matches", positive)):
                raise wrong_type(condition, _types_of(values))


def _fields_of(options: SearchOptions) -> list[Condition]:
    """Return the conditions, and one without a value for each further field that must exist."""
    further = [options.group_by, options.language_field if options.language_boost else None]
    return conditions_of(options) + [
        Condition(parse_path(name), "=", None) for name in further if name is not None
    ]


def answer_questions(
    questions: Generator[Question, Sequence[Mapping[str, JSON]], None],
    answer: Callable[[Question], Sequence[Mapping[str, JSON]]],
) -> None:
    """Answer all questions; raises what they raise."""
    try:
        question = next(questions)
        while True:
            question = questions.send(answer(question))
    except StopIteration:
        return


def missing_field(path: Sequence[str], types: Mapping[str, str]) -> InvalidInputError:
    """Return the error for a field that no document has.

    Args:
        path: Path of the field.
        types: Path to the type of the fields that are there.
    """
    name = path_text(path)
    shown = ", ".join(f"{field} ({kind})" for field, kind in list(types.items())[:_FIELDS_SHOWN])
    hidden = len(types) - _FIELDS_SHOWN
    quoted = json.dumps(".".join(path), ensure_ascii=False)
    return InvalidInputError(
        f"No document has the field {name!r}; the fields are {shown or 'none'}"
        f"{f' and {hidden} more' if hidden > 0 else ''}.",
        next_step=f"Write {quoted} with the quotes, so that the dot is part of the name."
        if len(path) > 1 and quoted in types
        else "Check the spelling.",
    )


def wrong_type(condition: Condition, types: str) -> InvalidInputError:
    """Return the error for a value of another type than those of the field."""
    name, value = path_text(condition.path), condition.value
    if "text" in types:
        advice = f"Write {name}=TEXT."
    elif "number" in types:
        advice = f"Write {name}:=NUMBER, or {name}>=NUMBER for a range."
    elif "true" in types:
        advice = f"Write {name}:=true or {name}:=false."
    else:
        advice = "Name a field inside it, with a dot."
    return InvalidInputError(
        f"The field {name!r} holds {types}; the filter compares it with "
        f"{json.dumps(value, ensure_ascii=False)}.",
        next_step=advice,
    )


def values_at(metadata: JSON, path: Sequence[str]) -> list[JSON]:
    """Return the values of a field, of every item where there are lists; null is no value."""
    if isinstance(metadata, list | tuple):
        return [value for item in metadata for value in values_at(item, path)]
    if not path:
        return [] if metadata is None else [metadata]
    if not isinstance(metadata, Mapping) or path[0] not in metadata:
        return []
    return values_at(metadata[path[0]], path[1:])


def _comparable(value: JSON, condition: Condition) -> bool:
    """Check whether a stored value is of the type that the condition compares with."""
    wanted = condition.value
    if isinstance(wanted, list | tuple):
        wanted = wanted[0]
    if condition.operator not in {"=", "!="} and isinstance(wanted, str):
        return isinstance(value, str) and as_datetime(value) is not None
    return _type_of(value) == _type_of(wanted)


def _type_of(value: JSON) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "object"


def _types_of(values: Iterable[JSON]) -> str:
    """Return the types of values, with an example of the first."""
    kinds = {_type_of(value): value for value in reversed(list(values))}
    return " and ".join(
        f"{kind} such as {json.dumps(example, ensure_ascii=False)[:80]}"
        for kind, example in sorted(kinds.items())
    )


def _field_types(documents: Iterable[Mapping[str, JSON]]) -> dict[str, str]:
    """Return the paths of all fields with their types, those inside objects too."""
    types: dict[str, dict[str, None]] = {}

    def add(path: tuple[str, ...], value: JSON) -> None:
        if isinstance(value, Mapping):
            for name, item in value.items():
                add((*path, name), item)
        elif isinstance(value, list | tuple):
            for item in value:
                add(path, item)
        elif value is not None:
            types.setdefault(path_text(path), {})[_type_of(value)] = None

    for each in documents:
        add((), each)
    return {path: " or ".join(kinds) for path, kinds in sorted(types.items())}
