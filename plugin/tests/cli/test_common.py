from __future__ import annotations

import errno
import json
import logging
import re
from pathlib import Path

import pytest
import typer

import lusifer.cli
from lusifer.cli.common import (
    description_of,
    epilog_of,
    guarded,
    option_helps,
    start_logging,
    write_json,
)
from lusifer.errors import InvalidTextError


def test_the_examples_end_the_help() -> None:
    assert epilog_of("lusifer demo", "lusifer info") == "Examples:\n\nlusifer demo\n\nlusifer info"


DOCSTRING = """Do one thing
    and another.

    A second paragraph.

    Options:
        text_field: Field with the text; a colon: stays.
            A second line.
        limit: Number of hits.
    """


def test_the_help_has_one_line_for_each_paragraph() -> None:
    assert description_of(DOCSTRING) == "Do one thing and another.\n\nA second paragraph."
    assert description_of("Do it.") == "Do it."


def test_options_are_described_in_the_docstring() -> None:
    assert option_helps(DOCSTRING) == {
        "text_field": "Field with the text; a colon: stays. A second line.",
        "limit": "Number of hits.",
    }
    assert option_helps("Do it.") == {}


def raising(error: BaseException, **options: object) -> int:
    """Return the exit code of a command that raises an error."""

    @guarded
    def command(**_: object) -> None:
        raise error

    with pytest.raises(typer.Exit) as caught:
        command(**options)
    return int(caught.value.exit_code)


def test_an_expected_error_is_two_lines_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert raising(InvalidTextError("The text \ud800 is empty.", next_step="Leave it out.")) == 1
    assert capsys.readouterr() == ("", "Error: The text \\ud800 is empty.\nLeave it out.\n")


def test_with_json_an_error_is_one_line_on_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = InvalidTextError("The text is empty.", next_step="Leave it out.")
    assert raising(error, as_json=True) == 1
    assert capsys.readouterr() == (
        '{"error": {"type": "InvalidTextError", "message": "The text is empty.", '
        '"next_step": "Leave it out.", "status": 400, "retryable": false}}\n',
        "",
    )


def test_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "Interrupted.\n")


def test_a_reader_that_left(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(BrokenPipeError()) == 1
    assert capsys.readouterr().err == ""


def test_a_full_disk_behind_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(OSError(errno.ENOSPC, "No space left on device")) == 1
    assert capsys.readouterr().err == (
        "Error: Could not write to standard output: No space left on device.\n"
        "Free some space or write to another place, then run the same command again.\n"
    )


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug"),
        type("ForeignError", (Exception,), {"next_step": "Do this."})("not ours"),
        OSError(errno.ENOSPC, "No space left on device", "/some/file"),
        OSError(errno.EPERM, "Operation not permitted"),
    ],
)
def test_any_other_error_keeps_its_traceback(error: Exception) -> None:
    @guarded
    def command() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        command()
    assert caught.value is error


def test_the_answer_of_a_command_is_kept() -> None:
    assert guarded(lambda: 7)() == 7


def test_json_is_one_line_of_utf_8(capsys: pytest.CaptureFixture[str]) -> None:
    write_json({"text": "é\ud800", "n": [1, None]})
    assert capsys.readouterr().out == '{"text": "é\\ud800", "n": [1, null]}\n'
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(float("nan"))


@pytest.mark.parametrize(
    ("verbosity", "ours", "training"),
    [
        (0, logging.WARNING, logging.INFO),
        (1, logging.INFO, logging.INFO),
        (2, logging.DEBUG, logging.DEBUG),
        (5, logging.DEBUG, logging.DEBUG),
    ],
)
def test_verbosity(verbosity: int, ours: int, training: int) -> None:
    names = ("lusifer", "lusifer_training", "lusifer_evaluation", "lusifer_export")
    before = [(name, logging.getLogger(name).level) for name in ("", *names)]
    handlers = logging.getLogger().handlers[:]
    try:
        start_logging(verbosity)
        assert [logging.getLogger(name).level for name in names] == [ours, *[training] * 3]
    finally:
        logging.getLogger().handlers[:] = handlers
        for name, level in before:
            logging.getLogger(name).setLevel(level)


HOSTILE = "a\x1b]0;owned\x07\x9b2J\u202eb\nError: forged"


def test_what_acts_on_a_terminal_is_escaped_in_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(InvalidTextError(HOSTILE, next_step=HOSTILE)) == 1
    error = capsys.readouterr().err
    assert error.splitlines() == [
        rf"{start}a\x1b]0;owned\x07\x9b2J\u202eb\nError: forged" for start in ("Error: ", "")
    ]


def test_what_acts_on_a_terminal_is_escaped_in_json_without_loss(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_json({HOSTILE: [HOSTILE, "\ud800", "\U000e0041", "写真"]})
    written = capsys.readouterr().out
    assert not set("\x1b\x07\x9b\u202e\ud800\U000e0041") & set(written)
    assert "写真" in written
    assert json.loads(written) == {HOSTILE: [HOSTILE, "\ud800", "\U000e0041", "写真"]}


def test_what_acts_on_a_terminal_is_escaped_in_logs(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging(0)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("lusifer").exception("read %s", HOSTILE)
    first, *traceback = capsys.readouterr().err.splitlines()
    assert first.endswith(r"read a\x1b]0;owned\x07\x9b2J\u202eb\nError: forged")
    assert traceback[0] == "Traceback (most recent call last):"
    assert not set("\x1b\x07\x9b\u202e") & set("".join(traceback))


def test_every_command_writes_by_the_one_function_that_escapes() -> None:
    """Only numbers are written past it: the vectors of lusifer embed."""
    folder = Path(lusifer.cli.__file__).parent
    writes = re.compile(r"std(?:out|err)\.write|typer\.echo|\bprint\(")
    found = {
        f"{path.relative_to(folder).as_posix()}: {line.strip()}"
        for path in folder.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if writes.search(line)
    }
    keys = {
        'keys/revoke.py: typer.echo(f"{name} is revoked.")',
        "keys/add.py: typer.echo(",
        "keys/list.py: typer.echo(f\"{key['name']}  {limits}\".rstrip())",
    }
    ours = {
        'app.py: typer.echo(f"lusifer {__version__}")',
        "embed.py: sys.stdout.write(",
        "info.py: console().print(table)",
        'common.py: sys.stderr.write("Interrupted.\\n")',
    }
    others = {each for each in found if not each.startswith("common.py")}
    assert others <= keys | ours
