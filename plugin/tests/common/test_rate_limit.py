from __future__ import annotations

import pytest

from lusifer.common.rate_limit import RateLimit


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_a_bucket_refills_steadily() -> None:
    clock = Clock()
    rate = RateLimit(1, burst=60, clock=clock)
    assert rate.take(60) == 0
    assert rate.take(30) == pytest.approx(30)
    clock.now_s = 30
    assert rate.take(30) == 0


def test_a_request_larger_than_the_burst_is_let_in_once_and_paid_off() -> None:
    rate = RateLimit(1, burst=60, clock=Clock())
    assert rate.take(1000) == 0
    assert rate.take(1) == pytest.approx(941)
    rate.give_back(1000)
    assert rate.take(60) == 0


def test_spending_waits_until_the_last_units_are_paid_off() -> None:
    clock = Clock()
    rate = RateLimit(100, clock=clock, sleep=clock.sleep)
    rate.spend(50)
    assert clock.now_s == 0
    rate.spend(50)
    assert clock.now_s == pytest.approx(0.5)


def test_nothing_is_saved_up_without_a_burst() -> None:
    clock = Clock()
    rate = RateLimit(100, clock=clock, sleep=clock.sleep)
    clock.now_s = 1000.0
    rate.spend(100)
    rate.spend(100)
    assert clock.now_s == pytest.approx(1001.0)


def test_zero_is_no_limit() -> None:
    clock = Clock()
    rate = RateLimit(0, clock=clock, sleep=clock.sleep)
    rate.spend(10**9)
    rate.spend(10**9)
    assert (rate.take(10**9), clock.now_s) == (0, 0)


def test_other_limits_do_not_give_back_what_was_spent() -> None:
    clock = Clock()
    rate = RateLimit(100 / 60, burst=100, clock=clock)
    assert rate.take(100) == 0
    rate.change(200 / 60, burst=200)
    assert rate.take(50) == pytest.approx(15)
    rate = RateLimit(200 / 60, burst=200, clock=clock)
    assert rate.take(200) == 0
    rate.change(100 / 60, burst=100)
    assert rate.take(60) == pytest.approx(36)
