from __future__ import annotations

import pytest
import typer

from lusifer.cli.doctor.output import show_diagnostics
from lusifer.stores.diagnostics import Diagnostic

GOOD = [
    Diagnostic("ok", "server", "Qdrant 1.19.0."),
    Diagnostic("note", "keywords", "There are none.", "Add --keywords."),
    Diagnostic("warning", "timeout", "It is 1 s.", "Raise it."),
]


def test_diagnostics_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    show_diagnostics(GOOD, as_json=False)
    assert capsys.readouterr().out == (
        "ok       server: Qdrant 1.19.0.\n"
        "note     keywords: There are none.\n"
        "         → Add --keywords.\n"
        "WARNING  timeout: It is 1 s.\n"
        "         → Raise it.\n"
    )


def test_an_error_is_exit_code_1_after_all_diagnostics(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit) as caught:
        show_diagnostics([Diagnostic("error", "server", "Gone.", "Start it."), *GOOD], as_json=True)
    assert caught.value.exit_code == 1
    first, *others = capsys.readouterr().out.splitlines()
    assert first == (
        '{"severity": "error", "subject": "server", "message": "Gone.", "fix": "Start it."}'
    )
    assert len(others) == 3


def test_what_a_server_says_can_not_act_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = Diagnostic("note", "server", "\x1b[2J\nok       all is well", "\u202efix")
    show_diagnostics([hostile], as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        r"note     server: \x1b[2J\nok       all is well",
        r"         → \u202efix",
    ]
