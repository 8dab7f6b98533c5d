from __future__ import annotations

import pytest

from lusifer.bundle.names import check_name, exact_name, split_name
from lusifer.errors import UnknownModelError

FINGERPRINT = "sha256:" + "7b470043" + "a" * 56
ACCEPTED = ("small", "lusifer/small", "text@large")


def test_a_name_with_the_fingerprint() -> None:
    assert exact_name("small", FINGERPRINT) == "lusifer/small@7b470043"
    assert split_name("lusifer/small@7b470043") == ("lusifer/small", "sha256:7b470043")
    for name in ("lusifer/small", "small@7b47", "small@large", "@7b470043", "small@7B470043"):
        assert split_name(name) == (name, "")


@pytest.mark.parametrize(
    "asked",
    [
        "small", "lusifer/small", "text@large", "small@7b470043", "lusifer/small@7b470043",
        "text@large@7b470043", "small@" + FINGERPRINT.removeprefix("sha256:"),
    ],
)  # fmt: skip
def test_names_of_the_served_model(asked: str) -> None:
    check_name(asked, ACCEPTED, FINGERPRINT)


def test_names_of_another_model() -> None:
    for asked in ("other", "other@7b470043", "small@7b47"):
        with pytest.raises(UnknownModelError, match="is not served here") as caught:
            check_name(asked, ACCEPTED, FINGERPRINT)
        assert "'lusifer/small'" in caught.value.next_step
    for asked in ("lusifer/small@7b470044", "small@" + "7b470043" + "b" * 56):
        with pytest.raises(UnknownModelError, match="not served here; 'lusifer/small@7b470043' is"):
            check_name(asked, ACCEPTED, FINGERPRINT)
