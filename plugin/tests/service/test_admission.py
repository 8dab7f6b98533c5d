from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lusifer.errors import KeyLimitError, OverloadedError, RequestTooLargeError
from lusifer.service.admission import Admission, KeyRateLimits, estimate_tokens


def test_the_wait_follows_from_the_measured_speed() -> None:
    admission = Admission(1000, key_share=0.5, tokens_per_s=lambda: 100.0)
    with admission.hold(None, 900):
        with pytest.raises(OverloadedError) as caught, admission.hold(None, 500):
            pass
        # 400 over the capacity, and the 125 that are kept for small requests.
        assert caught.value.retry_after_s == pytest.approx(5.25)
    assert admission.held_tokens == 0
    with pytest.raises(RequestTooLargeError), admission.hold(None, 4001):
        pass


def test_an_estimate_over_the_limit_takes_an_empty_queue_until_the_true_number_is_known() -> None:
    admission = Admission(1000, key_share=0.5, tokens_per_s=lambda: 0.0)
    with admission.hold(None, 2400) as hold:
        assert admission.held_tokens == 1000
        admission.settle(None, hold, 990)
        assert admission.held_tokens == 990
        with pytest.raises(OverloadedError), admission.hold(None, 2400):
            pass
    with admission.hold("a", 1200) as hold:
        assert admission.held_tokens == 500
        with pytest.raises(RequestTooLargeError, match="has 501 tokens, at most 500"):
            admission.settle("a", hold, 501)
    assert admission.held_tokens == 0


def test_large_requests_leave_room_for_small_ones() -> None:
    admission = Admission(6400, key_share=1, tokens_per_s=lambda: 0.0)
    with admission.hold(None, 5000):
        with pytest.raises(OverloadedError, match="holds 5000 of at most 5600"):
            admission.hold(None, 601).__enter__()
        with admission.hold(None, 600), admission.hold(None, 100):
            assert admission.held_tokens == 5700


def test_a_client_waits_a_minute_at_most() -> None:
    admission = Admission(100_000, key_share=1, tokens_per_s=lambda: 100.0)
    with admission.hold(None, 100_000):
        with pytest.raises(OverloadedError, match="again in 60 s") as caught:
            admission.hold(None, 55_100).__enter__()
        assert caught.value.retry_after_s == 60
    limits = KeyRateLimits(clock=Clock())
    limits.take("a", 60, 600)
    with pytest.raises(KeyLimitError, match="again in 60 s"):
        limits.take("a", 60, 60)


def test_one_key_cannot_take_the_whole_queue() -> None:
    admission = Admission(1000, key_share=0.5, tokens_per_s=lambda: 0.0)
    with admission.hold("a", 400):
        with pytest.raises(OverloadedError, match="'a'"), admission.hold("a", 200):
            pass
        with admission.hold("b", 400):
            assert admission.held_tokens == 800


@given(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 600)), max_size=30))
def test_what_is_held_is_given_back_whatever_happens(
    requests: list[tuple[str | None, int]],
) -> None:
    admission = Admission(1000, key_share=0.7, tokens_per_s=lambda: 50.0)
    for key, tokens in requests:
        try:
            with admission.hold(key, tokens) as hold:
                assert admission.held_tokens <= 1000
                admission.settle(key, hold, tokens // 2)
                if tokens % 3 == 0:
                    raise ValueError
        except (OverloadedError, RequestTooLargeError, ValueError):
            pass
    assert admission.held_tokens == 0
    assert not admission._by_key


def test_the_estimate_is_bounded_where_texts_are_cut() -> None:
    assert estimate_tokens(10**9, 512, truncates=True) == 512
    assert estimate_tokens(4000, 512, truncates=False) > 900


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_key_gets_its_tokens_a_minute_and_what_it_gave_back() -> None:
    clock = Clock()
    limits = KeyRateLimits(clock=clock)
    limits.take("a", 60, 60)
    with pytest.raises(KeyLimitError, match="'a' has used its 60 tokens a minute") as caught:
        limits.take("a", 60, 30)
    assert caught.value.retry_after_s == pytest.approx(30)
    limits.take("b", 60, 60)
    limits.give_back("a", 20)
    clock.now_s = 10.0
    limits.take("a", 60, 30)
    with pytest.raises(KeyLimitError):
        limits.take("a", 60, 1)
    # The estimate was 5 tokens too low.
    limits.give_back("a", -5)
    clock.now_s = 15.0
    with pytest.raises(KeyLimitError):
        limits.take("a", 60, 1)
    clock.now_s = 16.0
    limits.take("a", 60, 1)


def test_a_key_whose_limit_changes_gets_the_new_one() -> None:
    clock = Clock()
    limits = KeyRateLimits(clock=clock)
    limits.take("a", 60, 60)
    # What was spent stays spent; from now on 10 tokens a second come back, not 1.
    with pytest.raises(KeyLimitError, match="its 600 tokens") as refused:
        limits.take("a", 600, 10)
    assert refused.value.retry_after_s == pytest.approx(1)
    clock.now_s += 1
    limits.take("a", 600, 10)
    with pytest.raises(KeyLimitError, match="its 600 tokens"):
        limits.take("a", 600, 1)
    limits.take("a", None, 10**9)
    limits.give_back("a", 10**9)
    limits.take("a", 60, 60)
    with pytest.raises(KeyLimitError, match="its 60 tokens"):
        limits.take("a", 60, 1)


def test_callers_without_a_key_have_no_rate_limit() -> None:
    limits = KeyRateLimits(clock=Clock())
    for _ in range(3):
        limits.take(None, None, 10**9)
        limits.give_back(None, 10**9)
