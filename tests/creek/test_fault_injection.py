"""Faults have the effect of their kind, at the listed times, and nowhere else."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from creeklab.creek.quality.fault_injection import KINDS, Fault, Kind, inject, random_faults
from creeklab.creek.readings import samples
from creeklab.creek.readings.samples import STAGE, TEMPERATURE

NAN = float("nan")


def at(minute: int) -> pd.Timestamp:
    return pd.Timestamp("2018-08-31 12:00", tz="UTC") + pd.Timedelta(minutes=minute)


def table(stage: list[float]) -> pd.DataFrame:
    """Return readings from noon, one per minute."""
    index = pd.date_range(at(0), periods=len(stage), freq="1min")
    return pd.DataFrame({STAGE: stage, TEMPERATURE: 20.0}, index=index)


@pytest.mark.parametrize(
    ("kind", "size", "expected"),
    [
        ("spike", -0.5, [1, 2, 2.5, 3.5, 4.5, 6]),
        ("gap", 0, [1, 2, NAN, NAN, NAN, 6]),
        ("flat line", 0, [1, 2, 2, 2, 2, 6]),
        ("drift", 1, [1, 2, 3, 4.5, 6, 6]),
        ("dead sensor", 0, [1, 2, 0, 0, 0, 6]),
        ("dead sensor", -7.2, [1, 2, -7.2, -7.2, -7.2, 6]),
        ("network loss", 0, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_what_a_fault_does(kind: Kind, size: float, expected: list[float]) -> None:
    good = table([1, 2, 3, 4, 5, 6])
    bad = inject(good, [Fault(kind, at(2), at(4), size)])
    np.testing.assert_allclose(bad[STAGE], expected)
    assert (bad[TEMPERATURE] == 20).all()
    assert good[STAGE].tolist() == [1, 2, 3, 4, 5, 6]


def test_a_power_cut_leaves_no_row() -> None:
    bad = inject(table([1, 2, 3, 4]), [Fault("power cut", at(1), at(2))])
    assert bad.index.tolist() == [at(0), at(3)]


def test_noise_is_reproducible_and_has_the_given_size() -> None:
    good = table([1.0] * 5000)
    fault = Fault("noise", at(0), at(4999), 0.2)
    bad = inject(good, [fault])
    pd.testing.assert_frame_equal(bad, inject(good, [fault]))
    assert np.std(bad[STAGE]) == pytest.approx(0.2, rel=0.05)
    other = inject(good, [Fault("noise", at(1), at(4999), 0.2)])
    assert (other[STAGE] != bad[STAGE]).all()


def test_faults_apply_one_after_the_other() -> None:
    stuck, spike = Fault("flat line", at(1), at(3)), Fault("spike", at(2), at(2), 5)
    assert inject(table([1, 2, 3, 4]), [stuck, spike])[STAGE].tolist() == [1, 1, 6, 1]
    assert inject(table([1, 2, 3, 4]), [spike, stuck])[STAGE].tolist() == [1, 1, 1, 1]


def test_a_flat_line_repeats_the_last_measured_value() -> None:
    fault = Fault("flat line", at(2), at(3))
    np.testing.assert_array_equal(inject(table([1, NAN, 3, 4]), [fault])[STAGE], [1, NAN, 1, 1])
    np.testing.assert_array_equal(inject(table([NAN, NAN, 3, 4]), [fault])[STAGE], [NAN, NAN, 3, 3])


def test_missing_values_stay_missing() -> None:
    kinds: list[Kind] = ["spike", "drift", "noise"]
    for kind in kinds:
        bad = inject(table([1, NAN, 3]), [Fault(kind, at(0), at(2), 0.1)])
        assert bad[STAGE].isna().tolist() == [False, True, False]


def test_another_column() -> None:
    bad = inject(table([1, 2]), [Fault("spike", at(1), at(1), 7)], column=TEMPERATURE)
    assert bad[TEMPERATURE].tolist() == [20, 27]
    assert bad[STAGE].tolist() == [1, 2]
    with pytest.raises(ValueError, match="no column 'rain_in'"):
        inject(table([1, 2]), [], column="rain_in")


def test_processing_lists_the_injected_faults() -> None:
    flood = samples.load("plumtree-run-flood-2018-08-31")
    bad = inject(flood, random_faults(flood.index, 1, kinds=["spike", "gap"], each=2))
    assert bad.attrs["site"] == flood.attrs["site"]
    assert bad.attrs["processing"].startswith(flood.attrs["processing"])
    assert "faults injected into stage_ft" in bad.attrs["processing"]
    assert "2 spike" in bad.attrs["processing"]
    assert "on purpose" not in flood.attrs["processing"]
    assert inject(flood, []).attrs == flood.attrs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("storm", at(0), at(1)), "no fault 'storm'. Faults: spike, gap"),
        (("gap", at(1), at(0)), "before it starts"),
        (("gap", at(0).tz_localize(None), at(1)), "time zone"),
        (("spike", at(0), at(1), NAN), "not a number"),
    ],
)
def test_invalid_faults_are_rejected(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fault(*arguments)  # type: ignore[arg-type]


def test_a_fault_covers_its_start_to_its_end_in_any_zone() -> None:
    index = table([1, 2, 3, 4]).index
    assert isinstance(index, pd.DatetimeIndex)
    fault = Fault("gap", at(1), at(2))
    assert fault.covers(index).tolist() == [False, True, True, False]
    assert fault.covers(index.tz_convert("America/New_York")).tolist() == [False, True, True, False]


# --- a random list --------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_faults() -> None:
    index = pd.date_range("2018", periods=10_000, freq="5min", tz="UTC")
    assert random_faults(index, 6) == random_faults(index, 6)
    assert random_faults(index, 6) != random_faults(index, 7)
    kinds = [fault.kind for fault in random_faults(index, 6, each=2)]
    assert sorted(kinds) == sorted([*KINDS, *KINDS])


def test_sizes_follow_the_scale() -> None:
    index = pd.date_range("2018", periods=10_000, freq="5min", tz="UTC")
    for fault in random_faults(index, 6, each=20, scale=10):
        low, high = {"spike": (10, 30), "drift": (5, 20), "noise": (1, 3)}.get(fault.kind, (0, 0))
        assert low <= abs(fault.size) <= high
        assert fault.size >= 0 or fault.kind != "noise"


def test_too_few_readings() -> None:
    index = pd.date_range("2018", periods=191, freq="5min", tz="UTC")
    with pytest.raises(ValueError, match=r"191 readings are too few for 24 faults .* 192 readings"):
        random_faults(index, 1)
    assert random_faults(index[:0], 1, each=0) == []


@given(st.integers(192, 2000), st.integers(0, 2**32), st.sampled_from(["1min", "5min", "1h"]))
def test_faults_stay_apart_and_change_nothing_else(count: int, seed: int, step: str) -> None:
    index = pd.date_range("2018", periods=count, freq=step, tz="UTC")
    good = pd.DataFrame({STAGE: np.linspace(1, 2, count)}, index=index)
    faults = random_faults(index, seed)
    ends = pd.Timedelta(step) * 3
    assert faults[0].start >= index[0] + ends
    assert faults[-1].end <= index[-1] - ends
    for before, after in pairwise(faults):
        assert before.start <= before.end < before.end + ends < after.start <= after.end
    bad = inject(good, faults)
    untouched = ~np.any([fault.covers(index) for fault in faults], axis=0)
    assert bad.loc[index[untouched], STAGE].equals(good.loc[untouched, STAGE])
    for fault in faults:
        assert fault.start in index
        assert fault.end in index
        if fault.kind not in ("network loss", "flat line"):  # a flat line may meet a flat creek
            seen = bad[STAGE].reindex(index)[fault.covers(index)]
            assert not seen.equals(good.loc[fault.covers(index), STAGE]), fault
