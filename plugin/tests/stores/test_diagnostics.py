from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lusifer.errors import StoreUnavailableError
from lusifer.stores import diagnostics
from lusifer.stores.diagnostics import Diagnostic, error, failure, ok
from lusifer.stores.metadata import CollectionMetadata

METADATA = CollectionMetadata(collection="docs", fingerprint="sha256:a", model="m", dimension=4)


def model(fingerprint: str) -> Any:
    return SimpleNamespace(fingerprint=fingerprint, model_name=f"model-{fingerprint}", dimension=4)


def test_severities_and_their_fields() -> None:
    made = [
        ok("a", "fine"),
        diagnostics.note("b", "known"),
        diagnostics.warning("c", "soon", "Do it."),
        error("d", "no", "Fix it."),
        failure("e", StoreUnavailableError("Away.", next_step="Wait.")),
    ]
    assert [tuple(each.as_dict().values()) for each in made] == [
        ("ok", "a", "fine", ""),
        ("note", "b", "known", ""),
        ("warning", "c", "soon", "Do it."),
        ("error", "d", "no", "Fix it."),
        ("error", "e", "Away.", "Wait."),
    ]
    assert list(made[0].as_dict()) == ["severity", "subject", "message", "fix"]


def test_versions() -> None:
    assert diagnostics.version_numbers("v1.19.0-rc1") == (1, 19, 0)
    assert diagnostics.version_numbers("1.38") == (1, 38)
    assert diagnostics.version_numbers("1.9.2-dev") == (1, 9, 2)
    assert diagnostics.version_numbers("unknown") == ()
    assert diagnostics.version_numbers("1.9.0") < (1, 17) < diagnostics.version_numbers("1.20.0")
    features = (((1, 16), "metadata"), ((1, 31, 0), "roles"), ((2,), "more"))
    assert diagnostics.missing_features("1.16.3", features) == [("1.31.0", "roles"), ("2", "more")]
    assert diagnostics.missing_features("2.0", features) == []


def test_the_model_here_is_compared_with_the_collections() -> None:
    assert list(diagnostics.compare_fingerprint(METADATA, None)) == []
    assert list(diagnostics.compare_fingerprint(METADATA, model("sha256:a"))) == [
        Diagnostic("ok", "fingerprint", "the model here is the one that filled it")
    ]
    (other,) = diagnostics.compare_fingerprint(METADATA, model("sha256:b"))
    assert (other.severity, other.subject) == ("error", "fingerprint")
    assert "docs holds vectors of m (sha256:a)" in other.message
    assert "switch the alias" in other.fix


def test_the_model_of_a_service_is_compared_with_the_one_here() -> None:
    served = model("a")
    expected = Diagnostic("ok", "service", "http://s serves model-a, dimension 4")
    assert diagnostics.compare_service("http://s", served, None) == expected
    assert diagnostics.compare_service("http://s", served, model("a")) == expected
    assert diagnostics.compare_service("http://s", served, model("b")) == Diagnostic(
        "error",
        "service",
        "http://s serves model-a (a), the model here is model-b (b).",
        "Serve the same bundle that is used here.",
    )


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (0.5, ok("inference", "the server's query vector is the one made here (in 3 s)")),
        (0.50009, ok("inference", "the server's query vector is the one made here (in 3 s)")),
        (
            0.5002,
            error(
                "inference",
                "The server's query vector differs from the one made here: scores 0.5002 and 0.5000 "
                "(in 3 s).",
                "Serve the same bundle that is used here.",
            ),
        ),
    ],
)
def test_query_vectors_are_compared_by_their_scores(server: float, expected: Diagnostic) -> None:
    assert diagnostics.PROBE_QUERY == "How do I unpack an archive?"
    assert diagnostics.compare_query_vectors(server, 0.5, detail="in 3 s") == expected


def test_the_fix_for_other_query_vectors_may_be_the_databases() -> None:
    assert diagnostics.compare_query_vectors(0.1, 0.5, detail="x", fix="Upgrade.").fix == "Upgrade."
