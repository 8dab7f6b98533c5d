from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from plugin.tests.engine_contract import IDS, MASK, EngineContract

from lusifer.engines.fake import FakeEngine, Faults
from lusifer.errors import EngineBusyError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TestFakeEngine(EngineContract):
    @pytest.fixture
    def engine(self) -> FakeEngine:
        return FakeEngine(16, seed=3)

    def test_texts_that_share_tokens_are_near(self, engine: FakeEngine) -> None:
        vectors = engine.run(IDS, MASK)
        assert vectors[0] @ vectors[2] > vectors[0] @ vectors[1]

    def test_seed_is_another_model(self, engine: FakeEngine) -> None:
        assert np.array_equal(engine.run(IDS, MASK), FakeEngine(16, seed=3).run(IDS, MASK))
        assert not np.allclose(engine.run(IDS, MASK), FakeEngine(16, seed=4).run(IDS, MASK))

    def test_faults_happen_on_their_call_only(self) -> None:
        def second(**fault: Any) -> NDArray[np.float32]:
            engine = FakeEngine(16, faults=Faults(**fault))
            first = engine.run(IDS, MASK)
            assert np.array_equal(first, FakeEngine(16).run(IDS, MASK))
            return engine.run(IDS, MASK)

        right = FakeEngine(16).run(IDS, MASK)
        assert np.isnan(second(nan_on={2})).sum() == 1
        assert second(short_answer_on={2}).shape == (2, 16)
        assert second(wrong_dimension_on={2}).shape == (3, 17)
        assert np.array_equal(second(swapped_on={2}), right[[2, 1, 0]])
        assert np.linalg.norm(second(not_unit_on={2}), axis=1) == pytest.approx(2)
        with pytest.raises(EngineBusyError, match="call 2"):
            second(out_of_memory_on={2})

    def test_slow_and_short_of_memory(self) -> None:
        engine = FakeEngine(16, faults=Faults(slow_s=0.02, out_of_memory_above_rows=2))
        start = time.perf_counter()
        engine.run(IDS[:2], MASK[:2])
        assert time.perf_counter() - start >= 0.02
        with pytest.raises(EngineBusyError):
            engine.run(IDS, MASK)

    def test_a_row_without_tokens_still_has_unit_norm(self, engine: FakeEngine) -> None:
        assert np.linalg.norm(engine.run(IDS[:1], np.zeros_like(MASK[:1]))) == pytest.approx(1)
