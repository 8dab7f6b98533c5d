from __future__ import annotations

import pytest

from lusifer.common import retry
from lusifer.common.retry import call_with_retry, retry_after_s
from lusifer.errors import InvalidInputError, StoreBusyError, StoreUnavailableError

AWAY = StoreUnavailableError("It is away.", next_step="Wait.")


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept_s: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, wait_s: float) -> None:
        self.slept_s.append(wait_s)
        self.now_s += wait_s


class Flaky:
    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(retry, "time", made)
    return made


def test_pauses_double_up_to_the_longest(clock: Clock) -> None:
    assert call_with_retry(Flaky(*[AWAY] * 5), first_delay_s=1, longest_delay_s=4) == "done"
    for slept_s, least_s in zip(clock.slept_s, (1, 2, 4, 4, 4), strict=True):
        assert least_s <= slept_s <= 1.25 * least_s


def test_the_server_sets_the_pause(clock: Clock) -> None:
    busy = [StoreBusyError("Busy.", next_step="Wait.", retry_after_s=each) for each in (30, 0)]
    assert call_with_retry(Flaky(*busy)) == "done"
    assert 30 <= clock.slept_s[0] <= 37.5
    assert 0.1 <= clock.slept_s[1] <= 0.125


def test_the_last_error_is_raised_after_the_last_attempt(clock: Clock) -> None:
    flaky = Flaky(*[AWAY] * 9)
    with pytest.raises(StoreUnavailableError):
        call_with_retry(flaky, attempts=3)
    assert flaky.calls == 3


def test_no_attempt_begins_after_the_time_is_up(clock: Clock) -> None:
    with pytest.raises(StoreUnavailableError):
        call_with_retry(Flaky(*[AWAY] * 1000), retry_for_s=60)
    assert 30 < clock.now_s <= 60


def test_what_a_retry_cannot_help_is_raised_at_once(clock: Clock) -> None:
    for error in (InvalidInputError("Bad.", next_step="Fix it."), ValueError("ours")):
        flaky = Flaky(error)
        with pytest.raises(type(error)):
            call_with_retry(flaky)
        assert flaky.calls == 1
    assert clock.slept_s == []


def test_each_pause_is_logged(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    call_with_retry(Flaky(AWAY))
    assert "It is away. Trying again in 0." in caplog.text


@pytest.mark.parametrize(
    ("value", "expected"), [("7", 7.0), ("-3", 0.0), ("soon", None), ("", None), (None, None)]
)
def test_retry_after_in_seconds(value: str | None, expected: float | None) -> None:
    assert retry_after_s({} if value is None else {"retry-after": value}) == expected


def test_retry_after_as_a_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry.time, "time", lambda: 784_111_777.0 - 90)
    assert retry_after_s({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}) == 90
