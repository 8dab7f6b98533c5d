"""The LLM gives what Hugging Face's own module gives, with an open mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from lusifer_training.errors import ConfigError
from lusifer_training.model.llm import Llm

if TYPE_CHECKING:
    from collections.abc import Callable

# Two orders of the same fp32 sums, over a few layers of width 48.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
LLMS = ("llama", "mistral", "qwen2")


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.inference_mode():
        yield


@pytest.fixture
def inputs() -> torch.Tensor:
    """One text of 7 connector outputs (1, 7, 48)."""
    return torch.randn(1, 7, 48, generator=torch.Generator().manual_seed(3))


def llm_of(tiny: Any, kind: str, layers: int | None = None) -> Llm:
    backbone = AutoModel.from_pretrained(tiny.llm_folder(kind)).eval()
    return Llm(backbone, layers=layers, keep_token_table=True)


def raw_llm(tiny: Any, kind: str, layers: int | None = None) -> Any:
    folder = tiny.llm_folder(kind)
    if layers is None:
        return AutoModel.from_pretrained(folder).eval()
    config = AutoConfig.from_pretrained(folder)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    model = AutoModel.from_config(config).eval()
    whole = raw_llm(tiny, kind).state_dict()
    model.load_state_dict({name: whole[name] for name in model.state_dict()})
    return model


@pytest.mark.parametrize("kind", LLMS)
def test_llm_equals_hugging_face_with_an_open_mask(
    tiny: Any, kind: str, inputs: torch.Tensor
) -> None:
    reference = raw_llm(tiny, kind)
    bos = reference.embed_tokens.weight[reference.config.bos_token_id]
    with_bos = torch.cat([bos[None, None], inputs], dim=1)
    expected = reference(
        inputs_embeds=with_bos, attention_mask=torch.zeros(1, 1, 8, 8), use_cache=False
    ).last_hidden_state
    ours = llm_of(tiny, kind)(inputs, torch.ones(1, 7, dtype=torch.long))
    torch.testing.assert_close(ours, expected[:, 1:], **CLOSE)


@pytest.mark.parametrize("kind", LLMS)
def test_llm_equals_its_layers_called_one_by_one(
    tiny: Any, kind: str, inputs: torch.Tensor
) -> None:
    reference = raw_llm(tiny, kind)
    state = torch.cat([reference.embed_tokens.weight[None, :1], inputs], dim=1)
    positions = torch.arange(8)[None]
    rotary = reference.rotary_emb(state, positions)
    for layer in reference.layers:
        state = layer(
            state,
            attention_mask=torch.zeros(1, 1, 8, 8),
            position_embeddings=rotary,
            position_ids=positions,
            use_cache=False,
        )
        state = state[0] if isinstance(state, tuple) else state
    ours = llm_of(tiny, kind)(inputs, torch.ones(1, 7, dtype=torch.long))
    torch.testing.assert_close(ours, reference.norm(state)[:, 1:], **CLOSE)


@pytest.mark.parametrize("kind", LLMS)
@pytest.mark.parametrize("layers", [1, 3])
def test_a_cut_llm_equals_one_built_with_fewer_layers(
    tiny: Any, kind: str, layers: int, inputs: torch.Tensor
) -> None:
    reference = raw_llm(tiny, kind, layers)
    with_bos = torch.cat([reference.embed_tokens.weight[None, :1], inputs], dim=1)
    expected = reference(
        inputs_embeds=with_bos, attention_mask=torch.zeros(1, 1, 8, 8), use_cache=False
    ).last_hidden_state
    cut = llm_of(tiny, kind, layers)
    torch.testing.assert_close(
        cut(inputs, torch.ones(1, 7, dtype=torch.long)), expected[:, 1:], **CLOSE
    )
    assert len(cut.backbone.layers) == cut.backbone.config.num_hidden_layers == layers


@pytest.mark.parametrize("kind", LLMS)
def test_attention_is_bidirectional(tiny: Any, kind: str, inputs: torch.Tensor) -> None:
    llm, mask = llm_of(tiny, kind), torch.ones(1, 7, dtype=torch.long)
    changed = inputs.clone()
    changed[0, -1] += 1.0
    assert (llm(inputs, mask)[0, 0] - llm(changed, mask)[0, 0]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", LLMS)
def test_the_teacher_reads_as_hugging_face_does(
    tiny: Any, kind: str, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    ids, mask = batch
    reference = raw_llm(tiny, kind)
    expected = reference(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    embeddings, states = llm_of(tiny, kind).read_tokens(ids, mask)
    real = mask.bool()
    torch.testing.assert_close(states[real], expected[real], **CLOSE)
    assert torch.equal(embeddings, reference.embed_tokens.weight[ids])


@pytest.mark.parametrize("kind", LLMS)
def test_the_teacher_is_causal(tiny: Any, kind: str) -> None:
    llm, mask = llm_of(tiny, kind), torch.ones(1, 6, dtype=torch.long)
    ids = torch.tensor([[0, 9, 10, 11, 12, 13]])
    changed = ids.clone()
    changed[0, -1] = 99
    before, after = llm.read_tokens(ids, mask)[1], llm.read_tokens(changed, mask)[1]
    torch.testing.assert_close(before[0, :-1], after[0, :-1], **CLOSE)
    assert (before[0, -1] - after[0, -1]).abs().max() > 1e-3


def test_more_layers_than_there_are_is_an_error(tiny: Any) -> None:
    with pytest.raises(ConfigError, match="llm_layers is 5, but the LLM has 4"):
        llm_of(tiny, "llama", 5)


def test_a_dropped_token_table_is_an_error(tiny: Any) -> None:
    llm = Llm(AutoModel.from_pretrained(tiny.llm_folder("llama")), layers=1, keep_token_table=False)
    with pytest.raises(ConfigError, match="keep_token_table"):
        llm.read_tokens(torch.zeros(1, 2, dtype=torch.long), torch.ones(1, 2, dtype=torch.long))


def test_an_llm_without_bos_starts_with_zeros(tiny: Any) -> None:
    backbone = AutoModel.from_pretrained(tiny.llm_folder("qwen2"))
    backbone.config.bos_token_id = None
    assert not Llm(backbone, layers=1, keep_token_table=False).bos.any()


def test_the_embedding_scale_is_the_tables(tiny: Any, inputs: torch.Tensor) -> None:
    model = tiny.model(trained=False)
    table = raw_llm(tiny, "llama").embed_tokens.weight
    outputs: Callable[..., torch.Tensor] = model.connector
    rms = outputs(torch.randn(1, 5, tiny.HIDDEN)).pow(2).mean(dim=-1).sqrt()
    torch.testing.assert_close(
        rms, torch.full((1, 5), float(table.pow(2).mean().sqrt())), rtol=1e-4, atol=0
    )
