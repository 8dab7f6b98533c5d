"""Read and check records from JSON lines or from a Hugging Face dataset."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any, TypeAlias

from lusifer_training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lusifer_training.recipe import DatasetRecipe

__all__ = ["Record", "read_json_lines", "read_records"]

Record: TypeAlias = dict[str, Any]
"""A JSON object. ``Any``: the types of its values are checked at run time, field by field."""

_KINDS = {
    "score": "a number",
    "cluster": "a number",
    "negatives": "a list of texts",
    "label": "a label",
}


def read_json_lines(path: Path, fields: tuple[str, ...]) -> Iterator[Record]:
    """Yield the records of a ``.jsonl`` or ``.jsonl.gz`` file.

    A line ends with a line feed and with nothing else: U+2028 may occur inside a text.

    Raises:
        DataError: The file is missing, or a line isn't a JSON object with the fields. The error
            names the line.
    """
    if not path.is_file():
        raise DataError(
            f"There is no data file {path}.",
            next_step="Set LUSIFER_DATA to the folder that holds it, or correct the recipe.",
        )
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    with opener(path, "rt", encoding="utf-8", newline="\n") as lines:
        while True:
            number += 1
            try:
                if not (line := lines.readline()):
                    return
                record = json.loads(line)
            # Reading the text of a cut archive fails with OSError, EOFError or zlib.error.
            # ValueError: the text is not UTF-8 or not JSON.
            except (OSError, EOFError, ValueError, zlib.error) as error:
                raise DataError(
                    f"{path}, line {number}: {error}.", next_step="Correct or remove the line."
                ) from error
            if not isinstance(record, dict):
                raise DataError(
                    f"{path}, line {number} is not a JSON object.",
                    next_step="Correct or remove the line.",
                )
            if missing := [field for field in fields if field not in record]:
                raise DataError(
                    f"{path}, line {number} has no {', '.join(missing)}.",
                    next_step=f"Give every line the fields {', '.join(fields)}.",
                )
            yield record


def read_records(
    dataset: DatasetRecipe, path: Path | None, fields: tuple[str, ...]
) -> Iterator[Record]:
    """Yield the records of a dataset under our field names, with checked values.

    Args:
        dataset: Source and column names.
        path: Its file; None reads from the hub.
        fields: The fields that its schema needs.

    Raises:
        DataError: The source can't be read, or a line lacks a field or has a wrong value. The error
            names the line.
    """
    columns = {
        field: dataset.columns.get(field, field) for field in (*fields, "negatives", "cluster")
    }
    theirs = tuple(columns[field] for field in fields)
    records = read_json_lines(path, theirs) if path else _hub_records(dataset, theirs)
    where = str(path) if path else dataset.location
    for number, record in enumerate(records, start=1):
        ours = {field: record[column] for field, column in columns.items() if column in record}
        for field, value in ours.items():
            expected = _KINDS.get(field, "a text")
            if not _has_kind(value, expected):
                raise DataError(
                    f"{where}, line {number}: {columns[field]} is {value!r:.60}, "
                    f"expected {expected}.",
                    next_step="Correct or remove the line.",
                )
        yield ours


def _hub_records(dataset: DatasetRecipe, columns: tuple[str, ...]) -> Iterator[Record]:
    # Slow to import, and the default recipe does not need it.
    import datasets

    try:
        table = datasets.load_dataset(
            dataset.hub, dataset.subset, split=dataset.split, revision=dataset.revision
        )
    # FileNotFoundError and ConnectionError are OSErrors; ValueError: no such subset or split.
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"The dataset {dataset.hub} can't be loaded: {error}.",
            next_step="Check its name, subset, split and revision, and the network.",
        ) from error
    if missing := [column for column in columns if column not in table.column_names]:
        raise DataError(
            f"The dataset {dataset.hub} has no column {', '.join(missing)}; it has "
            f"{', '.join(table.column_names)}.",
            next_step="Name its columns under columns in the recipe.",
        )
    yield from table


def _has_kind(value: object, kind: str) -> bool:
    if kind == "a number":
        # True is an int in Python, but not a score.
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "a list of texts" and not isinstance(value, str):
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return isinstance(value, str | int) if kind == "a label" else isinstance(value, str)
