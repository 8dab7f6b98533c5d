"""Intervals and paired differences."""

from __future__ import annotations

import numpy as np
import pytest

from lusifer_evaluation.bootstrap import mean_measure, mean_of, resampled_measure


class TestBootstrap:
    def test_the_interval_of_a_mean_is_that_of_theory(self) -> None:
        hits = np.array([1.0] * 300 + [0.0] * 100)
        low, high = mean_measure(hits).interval
        # 75 % of 400: a standard error of 2.165 points.
        assert low == pytest.approx(75 - 1.96 * 2.165, abs=0.6)
        assert high == pytest.approx(75 + 1.96 * 2.165, abs=0.6)

    def test_pairing_sees_what_two_intervals_hide(self) -> None:
        rng = np.random.default_rng(0)
        one = (rng.random(400) < 0.5).astype(float)
        two = one.copy()
        two[np.flatnonzero(one == 0)[:8]] = 1
        better, worse = mean_measure(two), mean_measure(one)
        assert worse.interval[1] > better.interval[0]
        difference, (low, high) = better.difference(worse)
        assert difference == pytest.approx(2)
        assert 0 < low < 2 < high

    def test_units_are_drawn_whole(self) -> None:
        # Ten paragraphs of ten questions that stand or fall together: as uncertain as ten
        # questions.
        together = mean_measure(np.array([10.0, 0.0] * 5), np.full(10, 10.0))
        apart = mean_measure(np.array([1.0, 0.0] * 50))
        assert together.value == apart.value == 50
        assert np.std(together.replicates) > 2.5 * np.std(apart.replicates)

    def test_repeats_do_not_move_the_interval(self) -> None:
        # The number of distinct units falls when some are drawn twice; the interval is about all of
        # them.
        measure = resampled_measure(100, lambda drawn: len(np.unique(drawn)), scale=1)
        low, high = measure.interval
        assert low < measure.value == 100 < high

    def test_any_statistic(self) -> None:
        values = np.arange(101.0)
        measure = resampled_measure(101, lambda drawn: float(np.median(values[drawn])), scale=1)
        assert measure.value == 50
        assert measure.interval[0] < 50 < measure.interval[1]

    def test_the_mean_of_two_sets_is_less_uncertain_than_either(self) -> None:
        rng = np.random.default_rng(0)
        one = mean_measure((rng.random(300) < 0.5).astype(float))
        two = resampled_measure(301, lambda drawn: float((drawn % 2).mean()))
        mean = mean_of([one, two])
        assert mean.value == pytest.approx((one.value + two.value) / 2)
        assert len(mean.replicates) == len(two.replicates)
        spread = np.hypot(one.replicates.std(), two.replicates.std()) / 2
        assert mean.replicates.std() == pytest.approx(spread, rel=0.15)
