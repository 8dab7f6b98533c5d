from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from plugin.tests.service.protocol_cases import cohere

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from numpy.typing import NDArray


def test_tei_refuses_a_long_text_unless_it_may_be_cut(service: Any) -> None:
    body = {"inputs": ["word " * 100]}
    status, _, answer = service.exchange(cohere("/embed", body))
    assert (status, json.loads(answer)["error_type"]) == (413, "validation")
    assert service.exchange(cohere("/embed", body | {"truncate": True}))[0] == 200


def test_tei_takes_any_wish_about_the_norm_which_is_one(
    embedded: Callable[..., NDArray[np.float32]], http: httpx.Client
) -> None:
    for normalize in (True, False, None):
        answer = http.post("/embed", json={"inputs": ["a"], "normalize": normalize})
        assert answer.status_code == 200, answer.text
        assert np.abs(np.float32(answer.json()) - embedded(["a"])).max() < 1e-6
