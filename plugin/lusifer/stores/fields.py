"""Where a record has its text, and which of its fields are kept under which name.

The same rules are used when a file is indexed and when a collection is re-embedded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lusifer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lusifer.types import JSON

__all__ = ["FieldRules", "has_field", "parse_rules"]

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_DEFAULT_TEXT = "text"


@dataclass(frozen=True)
class FieldRules:
    """Rules for the fields of a record."""

    text_field: str = _DEFAULT_TEXT
    """Field with the text; dots lead into nested fields, unless a field has exactly this name."""
    template: str = ""
    """Text with ``{field}`` for every field to insert; empty takes ``text_field`` alone."""
    drop: frozenset[str] = frozenset()
    """Fields to leave out; dots lead into nested ones."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """New names of fields."""

    @property
    def property_name(self) -> str:
        """Name for the text of a record where it is written as one field."""
        composed = self.template or "." in self.text_field
        return _DEFAULT_TEXT if composed else self.text_field

    @property
    def text_fields(self) -> list[str]:
        """Names of the fields that the text is made of."""
        return _PLACEHOLDER.findall(self.template) if self.template else [self.text_field]

    @property
    def further_fields(self) -> dict[str, str]:
        """Names of fields that a record may lack, with the option that names them."""
        return {
            **dict.fromkeys(self.text_fields if self.template else (), "--template"),
            **dict.fromkeys(self.drop, "--drop"),
            **dict.fromkeys(self.rename, "--rename"),
        }

    def find_text(self, fields: Mapping[str, Any]) -> JSON:
        """Return a record's text; None without one, or whatever else stands in its place.

        A template leaves out what is missing. Without any of its fields there is no text.
        """
        if not self.template:
            return _value(fields, self.text_field)
        values = {name: _value(fields, name) for name in self.text_fields}
        if all(value is None for value in values.values()):
            return None
        return _PLACEHOLDER.sub(lambda found: _words(values[found[1]]), self.template).strip()

    def kept(self, fields: Mapping[str, JSON]) -> dict[str, JSON]:
        """Return a record's fields without those that are dropped, under their new names.

        Raises:
            InvalidInputError: Two fields would have one name.
        """
        for path in self.drop:
            fields = _without(fields, path)
        for old, new in self.rename.items():
            if old in fields and new in fields and new not in self.rename:
                raise InvalidInputError(
                    f"The field {old!r} is to be renamed to {new!r}, and there is such a field.",
                    next_step=f"Choose another name, or leave it out with --drop {new}.",
                )
        return {self.rename.get(name, name): value for name, value in fields.items()}

    def without_text(self, fields: Mapping[str, JSON]) -> dict[str, JSON]:
        """Return a record's fields without the text, where it is one field; the others as kept.

        Raises:
            InvalidInputError: Two fields would have one name.
        """
        if self.template:
            return self.kept(fields)
        return self.kept(_without(fields, self.text_field))

    def after(self) -> FieldRules:
        """Return the rules for records that these rules were applied to."""

        def renamed(name: str) -> str:
            first, dot, rest = name.partition(".")
            if name in self.rename:
                return self.rename[name]
            return f"{self.rename.get(first, first)}{dot}{rest}"

        template = _PLACEHOLDER.sub(lambda found: f"{{{renamed(found[1])}}}", self.template)
        return replace(
            self,
            text_field=renamed(self.text_field),
            template=template,
            drop=frozenset(),
            rename={},
        )


def parse_rules(
    text_field: str = _DEFAULT_TEXT,
    template: str = "",
    drop: Iterable[str] = (),
    rename: Iterable[str] = (),
) -> FieldRules:
    r"""Return the rules that a command's options ask for.

    Args:
        text_field: As in :class:`FieldRules`.
        template: As there; ``\n`` and ``\t`` stand for a new line and a tab.
        drop: Fields to leave out.
        rename: ``OLD=NEW`` for each field to rename.

    Raises:
        InvalidInputError: An option can't be understood, or contradicts another one.
    """
    renamed: dict[str, str] = {}
    for each in rename:
        old, equals, new = each.partition("=")
        if not (old and equals and new):
            raise InvalidInputError(
                f"--rename {each!r} names no two fields.", next_step="Write OLD=NEW."
            )
        if new in renamed.values():
            raise InvalidInputError(
                f"Two fields are renamed to {new!r}.", next_step="Give each a name of its own."
            )
        renamed[old] = new
    rules = FieldRules(
        text_field,
        template.replace(r"\n", "\n").replace(r"\t", "\t"),
        frozenset(drop),
        renamed,
    )
    if template and not (rules.text_fields and all(rules.text_fields)):
        raise InvalidInputError(
            f"--template {template!r} names no field.", next_step="Write each as {FIELD}."
        )
    return rules


def has_field(fields: Mapping[str, JSON], path: str) -> bool:
    """Return whether a record has a field, at whose path dots lead into nested ones."""
    first, _, rest = path.partition(".")
    inner = fields.get(first)
    return path in fields or (bool(rest) and isinstance(inner, dict) and has_field(inner, rest))


def _value(fields: Mapping[str, Any], path: str) -> JSON:
    # A payload may hold whatever its writer put there; Any stands for that.
    if path in fields:
        value: JSON = fields[path]
        return value
    first, _, rest = path.partition(".")
    inner = fields.get(first)
    return _value(inner, rest) if rest and isinstance(inner, dict) else None


def _without(fields: Mapping[str, JSON], path: str) -> dict[str, JSON]:
    first, _, rest = path.partition(".")
    inner = fields.get(first)
    if path in fields or not rest or not isinstance(inner, dict):
        return {name: value for name, value in fields.items() if name != path}
    return {**fields, first: _without(inner, rest)}


def _words(value: JSON) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return value if isinstance(value, str) else str(value)
