"""Recipes: those of the repository load, and what is wrong is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lusifer_training.config import validated
from lusifer_training.errors import ConfigError
from lusifer_training.recipe import Recipe, load_recipe

CONFIGS = Path(__file__).parents[1] / "configs"
RECIPES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))


class TestRecipes:
    @pytest.mark.parametrize("name", RECIPES)
    def test_every_recipe_of_the_repository_loads(self, name: str) -> None:
        path = CONFIGS / f"{name}.yaml"
        recipe = load_recipe(path)
        assert recipe.model.name
        assert load_recipe(path) == recipe

    def test_there_are_recipes(self) -> None:
        assert RECIPES

    @pytest.fixture
    def values(self) -> dict[str, Any]:
        values: dict[str, Any] = yaml.safe_load((CONFIGS / "small.yaml").read_text())
        return values

    @pytest.mark.parametrize(
        ("at", "key", "near"),
        [
            ((), "interpolaton", "interpolation"),
            (("model",), "llm_layer", "llm_layers"),
            (("model", "encoder"), "fromat", "format"),
            (("finetune",), "step", "steps"),
            (("datasets", "medquad"), "schem", "schema"),
        ],
    )
    def test_an_unknown_key_names_the_nearest_of_its_level(
        self, tmp_path: Path, values: dict[str, Any], at: tuple[str, ...], key: str, near: str
    ) -> None:
        place = values
        for part in at:
            place = place[part]
        place[key] = 1
        path = tmp_path / "r.yaml"
        path.write_text(yaml.safe_dump(values))
        with pytest.raises(ConfigError, match=rf"{key}: unknown key; did you mean '{near}'\?"):
            load_recipe(path)

    def test_stage_1_needs_an_llm(self, values: dict[str, Any]) -> None:
        values["align"] = {"steps": 1, "batch_texts": 2, "learning_rate": 1e-3}
        del values["model"]["llm"]
        with pytest.raises(
            ConfigError, match=r"stage 1 .align. aligns with an LLM, and the model has none"
        ):
            validated(Recipe, values, where="here")

    @pytest.mark.parametrize(
        "shares", [{"interpolation": 0.5}, {"interpolation": 1.0, "head_interpolation": 0.5}]
    )
    def test_interpolation_needs_the_raw_encoder(
        self, values: dict[str, Any], shares: dict[str, float]
    ) -> None:
        values["model"]["residual"] = False
        values.update(shares)
        with pytest.raises(ConfigError, match=r"interpolation goes back to the raw encoder"):
            validated(Recipe, values, where="here")

    @pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe", b"- 1\n- 2\n", b""])
    def test_a_file_that_is_no_recipe(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "r.yaml"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"r\.yaml"):
            load_recipe(path)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="can't be read"):
            load_recipe(tmp_path / "gone.yaml")


@pytest.mark.parametrize("name", RECIPES)
def test_every_key_has_a_comment(name: str) -> None:
    """A comment above it, or above the group of lines it stands in."""
    commented = False
    for number, line in enumerate((CONFIGS / f"{name}.yaml").read_text().splitlines(), start=1):
        if line.strip().startswith("#"):
            commented = True
        elif not line.strip():
            commented = False
        else:
            assert commented or line.startswith("model:"), f"{name}.yaml, line {number}: {line}"
            commented = commented or line.startswith("model:")


def test_key_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(
        (CONFIGS / "tiny.yaml").read_text(encoding="utf-8") + "\nseed: 1\n", encoding="utf-8"
    )
    with pytest.raises(ConfigError, match=r"seed is there twice(.|\n)*line \d+"):
        load_recipe(path)


@pytest.mark.parametrize("text", ["? [a, b]\n: 1\n", "!!map [a]\n"])
def test_keys_that_are_none_are_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="can't be read"):
        load_recipe(path)
