from __future__ import annotations

from contextlib import ExitStack

import pytest

from lusifer.errors import KeyLimitError, OverloadedError, RequestTooLargeError
from lusifer.service.in_flight import BytesInFlight, RequestBytes

MIB = 2**20


def opened(stack: ExitStack, account: BytesInFlight, key: str | None, size: int) -> RequestBytes:
    request = stack.enter_context(account.request())
    request.assign(key)
    request.take(size)
    return request


def test_bytes_are_held_until_the_request_ends() -> None:
    account = BytesInFlight(8 * MIB, key_share=0.5)
    with account.request() as request:
        request.assign(None)
        request.take(100)
        request.take(50)
        assert account.held_bytes == request.held_bytes == 150
        request.replace(70)
        assert account.held_bytes == 70
        request.assign("key")
    assert account.held_bytes == 0
    assert account.entered_bytes == 150


def test_a_full_account_refuses_large_requests_and_serves_small_ones() -> None:
    account = BytesInFlight(8 * MIB, key_share=1)
    with ExitStack() as stack:
        for _ in range(7):
            opened(stack, account, None, MIB)
        with pytest.raises(OverloadedError) as caught:
            opened(stack, account, None, MIB)
        assert (caught.value.status, caught.value.retry_after_s) == (429, 1)
        for _ in range(4):
            opened(stack, account, None, MIB // 4)
        with pytest.raises(OverloadedError):
            opened(stack, account, None, MIB // 4)
        assert account.held_bytes == 8 * MIB
    assert account.held_bytes == 0


def test_a_request_does_not_stay_small_by_growing_slowly() -> None:
    account = BytesInFlight(8 * MIB, key_share=1)
    with ExitStack() as stack:
        opened(stack, account, None, 7 * MIB)
        growing = opened(stack, account, None, MIB // 8)
        growing.take(MIB // 8)
        with pytest.raises(OverloadedError):
            growing.take(1)


def test_a_key_has_its_share_and_others_keep_theirs() -> None:
    account = BytesInFlight(8 * MIB, key_share=0.25)
    with ExitStack() as stack:
        opened(stack, account, "greedy", 2 * MIB)
        with pytest.raises(KeyLimitError, match="'greedy' has 2097152 of at most 2097152 bytes"):
            opened(stack, account, "greedy", 1)
        opened(stack, account, "modest", 2 * MIB)


def test_what_can_never_fit_is_too_large() -> None:
    account = BytesInFlight(8 * MIB, key_share=0.5)
    with account.request() as request, pytest.raises(RequestTooLargeError, match="in_flight_bytes"):
        request.assign("key")
        request.take(4 * MIB + 1)
    with account.request() as request, pytest.raises(RequestTooLargeError):
        request.take(8 * MIB)


def test_bytes_go_over_to_the_key_when_it_is_known() -> None:
    account = BytesInFlight(8 * MIB, key_share=0.25)
    with ExitStack() as stack:
        request = opened(stack, account, "", 2 * MIB)
        with pytest.raises(KeyLimitError, match="without a known key"):
            opened(stack, account, "", 17 * 2**10)
        request.assign("known")
        opened(stack, account, "", 2 * MIB)
        with pytest.raises(KeyLimitError, match="'known'"):
            opened(stack, account, "known", 1)


def test_whoever_has_no_key_does_not_stop_questions_whose_key_is_in_the_body() -> None:
    account = BytesInFlight(8 * MIB, key_share=0.5)
    with ExitStack() as stack:
        for _ in range(4):
            opened(stack, account, "", MIB)
        with pytest.raises(KeyLimitError, match="Requests without a known key have"):
            opened(stack, account, "", 17 * 2**10)
        question = opened(stack, account, "", 16 * 2**10)
        with pytest.raises(KeyLimitError):
            question.take(1)
        question.assign("qdrant")
        question.take(MIB)
        assert account.held_bytes == 5 * MIB + 16 * 2**10
