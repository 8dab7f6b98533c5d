"""The encoder gives what Hugging Face's own module gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModel

from lusifer_training.model.encoder import Encoder

# Two orders of the same fp32 sums, over a few layers of width 48.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
ENCODERS = ("bert", "xlm-roberta")


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.inference_mode():
        yield


def encoder_of(tiny: Any, kind: str, *, layer_mix: bool = False) -> Encoder:
    folder = tiny.encoder_folder(kind)
    return Encoder(
        AutoModel.from_pretrained(folder, add_pooling_layer=False).eval(), layer_mix=layer_mix
    )


@pytest.mark.parametrize("kind", ENCODERS)
def test_encoder_gives_hugging_faces_last_hidden_state(
    tiny: Any, kind: str, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    ids, mask = batch
    states, last = encoder_of(tiny, kind)(ids, mask)
    reference = AutoModel.from_pretrained(tiny.encoder_folder(kind), add_pooling_layer=False).eval()
    expected = reference(input_ids=ids, attention_mask=mask).last_hidden_state
    real = mask.bool()
    torch.testing.assert_close(last[real], expected[real], **CLOSE)
    assert states is last


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_mix_of_one_layer_is_that_layer(
    tiny: Any, kind: str, layer: int, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    ids, mask = batch
    encoder = encoder_of(tiny, kind, layer_mix=True)
    logits = torch.full((3,), -1e4)
    logits[layer] = 0.0
    encoder.mix_logits.copy_(logits)
    states, last = encoder(ids, mask)
    reference = AutoModel.from_pretrained(tiny.encoder_folder(kind), add_pooling_layer=False).eval()
    output = reference(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    real = mask.bool()
    torch.testing.assert_close(states[real], output.hidden_states[layer][real], **CLOSE)
    # The residual path reads the last layer, whatever the connector reads.
    torch.testing.assert_close(last[real], output.last_hidden_state[real], **CLOSE)


def test_the_mix_starts_at_the_last_layer(tiny: Any) -> None:
    assert encoder_of(tiny, "bert", layer_mix=True).mix_logits.softmax(dim=0)[-1] > 0.9
