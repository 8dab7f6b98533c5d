from __future__ import annotations

from lusifer.service.client_speed import ClientSpeed
from lusifer.service.settings import Settings

SETTINGS = Settings(stall_timeout_s=10, minimum_bytes_per_s=100, deadline_s=50)


def test_a_client_is_judged_by_each_window() -> None:
    speed = ClientSpeed(SETTINGS, 5.0)
    speed.note(1, 0, 14.0)
    assert speed.complaint(14.9) is None
    speed.note(1_000, 0, 15.0)
    assert speed.complaint(15.0) is None
    speed.note(1_999, 0, 24.0)
    assert speed.complaint(25.0) == (
        "999 bytes were sent or read in 10 s, at least 100 a second are needed."
    )
    assert speed.moved_s == 24.0


def test_time_in_which_the_client_has_nothing_to_do_does_not_count() -> None:
    speed = ClientSpeed(SETTINGS, 0.0)
    speed.note(5, 0, 1.0)
    speed.restart(100.0)
    assert speed.complaint(109.0) is None
    assert speed.complaint(110.0) is not None


def test_an_answer_must_be_read_by_the_deadline() -> None:
    speed = ClientSpeed(SETTINGS, 0.0)
    for second in range(50):
        speed.note(second * 1_000, 10_000, float(second))
        assert speed.complaint(float(second)) is None
    speed.note(50_000, 10_000, 50.0)
    assert speed.complaint(50.0) == "The answer was not read within 50 s."
    speed.note(60_000, 0, 51.0)
    speed.note(61_000, 1, 52.0)
    assert speed.complaint(52.0) is None
