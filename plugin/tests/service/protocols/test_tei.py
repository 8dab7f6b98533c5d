from __future__ import annotations

import json
from typing import Any

from plugin.tests.service.protocol_cases import cohere


def test_tei_refuses_a_long_text_unless_it_may_be_cut(service: Any) -> None:
    body = {"inputs": ["word " * 100]}
    status, _, answer = service.exchange(cohere("/embed", body))
    assert (status, json.loads(answer)["error_type"]) == (400, "validation")
    assert service.exchange(cohere("/embed", body | {"truncate": True}))[0] == 200
