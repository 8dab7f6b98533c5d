"""The whole model: one vector per text, a start at the raw encoder, LoRA and the language subspace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize
from transformers import AutoModel

from lusifer_training.checkpoint import trained_parameters
from lusifer_training.config import LoraShape
from lusifer_training.errors import ConfigError
from lusifer_training.geometry import Geometry
from lusifer_training.model.lusifer import build_model

if TYPE_CHECKING:
    from lusifer_training.model.lusifer import Lusifer

NOISE_FLOOR = 5e-6


SHAPES: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "residual": ("bert", "llama", {}),
    "no residual": ("xlm-roberta", "mistral", {"residual": False, "output_dimension": 20}),
    "encoder only": ("xlm-roberta", None, {}),
    "last token": ("bert", "qwen2", {"pooling": "last_token", "residual": False}),
    "layer mix": ("xlm-roberta", "llama", {"encoder_layer_mix": True, "residual": False}),
    "language subspace": ("bert", "mistral", {"language_rank": 3}),
    "centre": ("bert", None, {"language_rank": 3, "centre_share": 0.7}),
}


LENGTHS = (1, 2, 3, 5, 8, 13, 21, 30)


@pytest.fixture(scope="module", params=SHAPES, ids=[name.replace(" ", "-") for name in SHAPES])
def model(request: pytest.FixtureRequest, tiny: Any) -> Lusifer:
    encoder, llm, changes = SHAPES[request.param]
    return tiny.model(tiny.config(encoder, llm, **changes))


@pytest.fixture(scope="module")
def alone(model: Lusifer) -> list[torch.Tensor]:
    """Each text's vector, computed alone and without padding."""
    return [embed(model, [row])[0] for row in texts()]


def texts() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(4, 320, (length,), generator=generator) for length in LENGTHS]


@torch.inference_mode()
def embed(
    model: Lusifer, rows: list[torch.Tensor], *, pads: int = 0, left: bool = False, filler: int = 1
) -> torch.Tensor:
    width = max(map(len, rows)) + pads
    ids = torch.full((len(rows), width), filler)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[index, place], mask[index, place] = row, 1
    return model(ids, mask)


@settings(deadline=None, max_examples=60)
@given(
    chosen=st.lists(st.integers(0, len(LENGTHS) - 1), min_size=1, max_size=6),
    pads=st.integers(0, 20),
    left=st.booleans(),
    # What stands in the padding is nobody's business.
    filler=st.integers(0, 319),
)
def test_a_text_has_one_vector(
    model: Lusifer, alone: list[torch.Tensor], chosen: list[int], pads: int, left: bool, filler: int
) -> None:
    rows = texts()
    vectors = embed(model, [rows[index] for index in chosen], pads=pads, left=left, filler=filler)
    expected = torch.stack([alone[index] for index in chosen])
    assert (vectors - expected).abs().max() <= NOISE_FLOOR


def test_control_different_texts_have_different_vectors(alone: list[torch.Tensor]) -> None:
    stacked = torch.stack(alone)
    apart = (stacked[:, None] - stacked[None]).abs().amax(dim=-1) + torch.eye(len(alone))
    assert apart.min() > 1e-2


def test_control_positions_that_follow_the_padding_are_seen(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.model()
    rows = texts()
    before = embed(model, rows[4:5])
    whole = torch.Tensor.cumsum
    # The mistake of the reference code: positions counted over the padded length.
    monkeypatch.setattr(torch.Tensor, "cumsum", lambda mask, dim: whole(torch.ones_like(mask), dim))
    assert (embed(model, rows[4:5], pads=6, left=True) - before).abs().max() > 1e-2


def test_vectors_have_unit_norm_and_the_configured_dimension(
    model: Lusifer, alone: list[torch.Tensor]
) -> None:
    stacked = torch.stack(alone)
    assert stacked.shape == (len(LENGTHS), model.config.output_dimension)
    torch.testing.assert_close(stacked.norm(dim=-1), torch.ones(len(LENGTHS)))


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_training_starts_exactly_at_the_raw_encoder(tiny: Any, kind: str) -> None:
    model = tiny.model(tiny.config(kind), trained=False)
    reference = AutoModel.from_pretrained(tiny.encoder_folder(kind), add_pooling_layer=False).eval()
    row = texts()[5][None]
    mask = torch.ones_like(row)
    with torch.inference_mode():
        expected = normalize(
            reference(input_ids=row, attention_mask=mask).last_hidden_state.mean(dim=1)
        )
        torch.testing.assert_close(model(row, mask), expected, rtol=0, atol=1e-6)


def test_a_head_of_zeros_adds_exactly_nothing(tiny: Any) -> None:
    model = tiny.model(trained=False)
    row, mask = texts()[5][None], torch.ones(1, 13, dtype=torch.long)
    with model.raw_encoder() as raw:
        expected = normalize(raw(row, mask))
    with torch.inference_mode():
        assert torch.equal(model(row, mask), expected)


@pytest.mark.parametrize("lora", [LoraShape(rank=2, alpha=4), None], ids=["lora", "none"])
def test_raw_encoder_forgets_training(tiny: Any, lora: LoraShape | None) -> None:
    config = tiny.config(encoder_lora=lora)
    row, mask = texts()[5][None], torch.ones(1, 13, dtype=torch.long)
    untrained, trained = tiny.model(config, trained=False), tiny.model(config)
    with torch.inference_mode():
        expected = untrained(row, mask)
    with trained.raw_encoder() as raw:
        torch.testing.assert_close(raw(row, mask), expected, rtol=0, atol=1e-6)
        assert not raw(row, mask).requires_grad
    # After the block the model is the trained one again.
    assert (trained(row, mask) - expected).abs().max() > 1e-2


def test_raw_encoder_has_no_dropout_while_training(tiny: Any) -> None:
    """A BERT has dropout of 0.1 by default: without this the distillation target was another every step."""
    model = tiny.model().train()
    row, mask = texts()[5][None], torch.ones(1, 13, dtype=torch.long)
    with model.raw_encoder() as raw:
        assert torch.equal(raw(row, mask), raw(row, mask))
    assert model.encoder.backbone.training
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("llm", ["llama", None])
def test_merging_lora_keeps_vectors(tiny: Any, llm: str | None) -> None:
    model = tiny.model(tiny.config("xlm-roberta", llm))
    before = embed(model, texts())
    names = len(trained_parameters(model))
    model.merge_lora()
    torch.testing.assert_close(embed(model, texts()), before, rtol=0, atol=1e-5)
    assert not [name for name, _ in model.named_parameters() if "lora_" in name]
    assert names > len(trained_parameters(model))


def test_lora_lies_on_every_linear_layer_of_the_last_layers_only(tiny: Any) -> None:
    names = trained_parameters(tiny.model(trained=False))
    encoder = {name for name in names if name.startswith("encoder.")}
    # 1 layer x 6 linear layers x A and B; 2 kept LLM layers x 7 x A and B.
    assert len(encoder) == 12
    assert all(".layer.1." in name for name in encoder)
    assert len([name for name in names if name.startswith("llm.")]) == 28
    assert {name for name in names if not name.startswith(("encoder.", "llm."))} == {
        "connector.gain",
        "connector.input_norm.weight",
        "connector.input_norm.bias",
        "connector.up.weight",
        "connector.up.bias",
        "connector.down.weight",
        "connector.down.bias",
        "head.weight",
        "head.bias",
    }


def test_nothing_of_the_language_subspace_is_left(tiny: Any) -> None:
    model = tiny.model(tiny.config(language_rank=4))
    vectors = embed(model, texts())
    assert (vectors @ model.language_basis).abs().max() < 1e-6
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(len(LENGTHS)))


def test_the_centre_is_subtracted_from_unit_vectors(tiny: Any) -> None:
    """The model computes what :class:`Geometry` computes from plain unit vectors, to 1e-6."""
    model = tiny.model(tiny.config(centre_share=0.7, language_rank=4))
    served = embed(model, texts()).numpy()
    geometry = Geometry(model.centre.numpy(), 0.7, model.language_basis.numpy())
    model.config = model.config.model_copy(update={"centre_share": 0.0, "language_rank": 0})
    plain = embed(model, texts()).numpy()
    np.testing.assert_allclose(np.linalg.norm(plain, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(served, geometry.apply(plain), atol=1e-6)
    assert np.abs(served - plain).max() > 0.1


def test_no_token_table_at_inference(tiny: Any) -> None:
    model = tiny.model()
    assert model.llm.token_table is None
    assert not [
        name for name, _ in model.named_parameters() if "embed_tokens" in name or "lm_head" in name
    ]


def test_residual_path_needs_the_encoders_dimension(tiny: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"32 dimensions to an output of 20\. Set output_dimension"
    ):
        tiny.model(tiny.config(output_dimension=20))


def test_shapes_only_holds_no_numbers(tiny: Any) -> None:
    model, whole = build_model(tiny.config(), weights=False), build_model(tiny.config())
    assert {value.device.type for value in model.parameters()} == {"meta"}
    assert {name: value.shape for name, value in model.named_parameters()} == {
        name: value.shape for name, value in whole.named_parameters()
    }
