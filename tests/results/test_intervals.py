"""Intervals, e-values, verdicts, cross-checks: against scipy and sums by hand, and by simulation what they promise."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from cat_bench.benchmark.studies.statistics import simulated as study
from cat_bench.benchmark.studies.statistics.page import of_run, page, pools_of
from cat_bench.results.records.packed import SHIPPED
from cat_bench.results.records.run_folder import Run
from cat_bench.results.verdicts import intervals
from cat_bench.results.verdicts.always_valid import UntilDecided, always_valid, critical, e_value
from cat_bench.results.verdicts.checks import bootstrap_t, sign_flip, wins
from cat_bench.results.verdicts.verdict import detectable, holm, judge, power, replicates_needed

TIMES = 4000
ERROR = 3 * math.sqrt(0.05 * 0.95 / TIMES)  # three standard errors of a share of 95 %


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_replicates_are_the_paired_t_test() -> None:
    a, b = rng().normal(0.3, 1.0, (2, 7))
    found, paired = intervals.of_replicates(a - b), stats.ttest_rel(a, b)
    low, high = paired.confidence_interval()
    assert [float(x) for x in (*found.limits(), found.p)] == pytest.approx([low, high, paired.pvalue], rel=1e-12)
    assert float(found.half(0.9)) == pytest.approx(stats.t.ppf(0.95, 6) * (a - b).std(ddof=1) / math.sqrt(7))
    many = intervals.of_replicates(rng().normal(size=(3, 2, 7)))
    assert many.mean.shape == many.variance.shape == many.df.shape == many.p.shape == (3, 2)


def test_nothing_varies_and_one_alone() -> None:
    same = intervals.of_replicates([[0.25, 0.25, 0.25], [0.0, 0.0, 0.0]])
    assert same.p.tolist() == [0.0, 1.0] and same.half().tolist() == [0.0, 0.0]
    assert not np.isfinite(intervals.of_replicates([0.1]).half())
    assert float(intervals.crossed(np.full((2, 3), 0.25)).half()) == 0.0


def test_two_ways_by_hand() -> None:
    d = np.array([[1.0, 2.0, 4.0], [2.0, 5.0, 9.0]])  # two orders, three seeds
    orders, seeds, mean = [7 / 3, 16 / 3], [1.5, 3.5, 6.5], 23 / 6
    of_orders = 3 * sum((x - mean) ** 2 for x in orders) / 1
    of_seeds = 2 * sum((x - mean) ** 2 for x in seeds) / 2
    rest = sum((d[o, s] - orders[o] - seeds[s] + mean) ** 2 for o in range(2) for s in range(3)) / 2
    found = intervals.crossed(d)
    bracket = of_orders + of_seeds - rest
    assert float(found.mean) == pytest.approx(mean)
    assert float(found.variance) == pytest.approx(bracket / 6)
    assert float(found.df) == pytest.approx(bracket**2 / (of_orders**2 / 1 + of_seeds**2 / 2 + rest**2 / 2))
    assert intervals.crossed(rng().normal(size=(500, 3, 4))).df.min() == 2.0, "the fewer levels less one"
    floored = np.array([[1.0, -1.0], [-1.0, 1.0]])  # nothing but interaction: the bracket would be negative
    assert float(intervals.crossed(floored).variance) == pytest.approx(4.0 / 1 / 4)


def test_two_ways_estimate_the_variance_of_the_mean() -> None:
    generator = rng(1)
    d = 2 * generator.normal(size=(20_000, 4, 1)) + generator.normal(size=(20_000, 1, 5))
    d = d + generator.normal(size=(20_000, 4, 5))
    found = intervals.crossed(d)
    assert found.variance.mean() == pytest.approx(4 / 4 + 1 / 5 + 1 / 20, rel=0.02)
    assert found.mean.var() == pytest.approx(found.variance.mean(), rel=0.03)


def test_new_concepts_are_the_second_way() -> None:
    d = rng(2).normal(size=(6, 4)) + rng(3).normal(size=(6, 1)) + 2 * rng(4).normal(size=(1, 4))
    narrow = intervals.of_replicates(d.mean(axis=1))
    wide, two = intervals.new_concepts(d, narrow), intervals.crossed(d)
    for name in ("mean", "variance", "df"):
        assert float(getattr(wide, name)) == pytest.approx(float(getattr(two, name)), rel=1e-9)
    alike = rng(5).normal(size=(6, 1)) + np.array([[1e-9, -1e-9, 0.0, 0.0]]) * rng(6).normal(size=(6, 4))
    narrow = intervals.of_replicates(alike.mean(axis=1))
    assert float(intervals.new_concepts(alike, narrow).variance) == pytest.approx(float(narrow.variance), rel=1e-6)


def test_new_concepts_where_each_replicate_lacks_one() -> None:
    generator, n, K = rng(7), 6, 5
    d = (
        2 * generator.normal(size=(4000, 1, K))
        + generator.normal(size=(4000, n, 1))
        + generator.normal(size=(4000, n, K))
    )
    d[:, np.arange(n), np.arange(n) % K] = np.nan
    narrow = intervals.of_replicates(np.nanmean(d, axis=-1))
    assert intervals.new_concepts(d, narrow).variance.mean() == pytest.approx(narrow.mean.var(), rel=0.05)
    d[:, :, 1:] = np.nan  # one concept alone says nothing of others
    assert np.isinf(intervals.new_concepts(d, narrow).variance).all()


@pytest.mark.parametrize("draw", [study.normal, study.shares])
@pytest.mark.parametrize("n", study.COUNTS)
def test_the_interval_covers_95_percent(draw: study.Draw, n: int) -> None:
    assert abs(study.coverage(rng(n), draw, n, TIMES) - 0.95) <= ERROR


@pytest.mark.parametrize("design", [(3, 3), (4, 5), (5, 5)])
@pytest.mark.parametrize("spreads", study.SPREADS)
def test_the_two_way_interval_covers_95_percent_at_least(design: tuple[int, int], spreads: tuple[float, ...]) -> None:
    two_way, independent = study.coverage_crossed(rng(1), design, spreads, TIMES)
    assert two_way >= 0.95 - ERROR
    assert independent < 0.85 or spreads[:2] == (0.0, 0.0)


@pytest.mark.parametrize("missing", [False, True])
def test_the_wide_interval_covers_what_the_narrow_one_does_not(missing: bool) -> None:
    wide, narrow = study.coverage_new_concepts(rng(2), 5, 2.0, TIMES, missing)
    assert wide >= 0.95 - ERROR and narrow < 0.85


def test_the_percentile_bootstrap_does_not() -> None:
    assert study.coverage_percentile(rng(3), study.normal, 5, 1000) < 0.88


def test_a_run_until_all_is_decided_seldom_finds_what_is_not_there() -> None:
    for methods in (2, 6):
        share, mean = study.decided(rng(11), study.normal, methods, times=2000)
        assert share <= 0.05 and 11.5 < mean <= 12
    share, mean = study.decided(rng(12), study.normal, 2, effect=3.0, times=500)
    assert share > 0.99 and 5 < mean < 8


def test_e_values_average_one_and_do_not_fall_for_peeking() -> None:
    d = study.normal(rng(4), 40_000, 4)
    for n in (2, 3, 4):
        assert e_value(d[:, :n]).mean() == pytest.approx(1.0, abs=0.05)
    for draw in (study.normal, study.shares):
        plain, valid = study.peeking(rng(5), draw, times=TIMES)
        assert plain > 0.2 and valid <= 0.05


def test_the_always_valid_interval_is_the_e_value_turned_round() -> None:
    table = {5: 8.45, 6: 5.45, 8: 4.25, 10: 3.87, 20: 3.42}
    assert {n: round(critical(n), 2) for n in table} == table
    assert [critical(n) for n in (1, 2, 3, 4)] == [math.inf] * 4
    assert {n: round(critical(n, g=4), 2) for n in (4, 5, 8)} == {4: 7.21, 5: 5.36, 8: 4.2}
    d = rng(6).normal(0.8, 1.0, 9)
    for end in always_valid(d):
        assert float(e_value(d - end)) == pytest.approx(20.0)
    assert [float(x) for x in always_valid(d[:4])] == [-math.inf, math.inf]
    assert float(e_value([0.1] * 6)) == pytest.approx(7**2.5) and float(e_value([0.0] * 6)) == pytest.approx(7**-0.5)
    assert float(e_value([5.0])) == 1.0


def test_when_a_comparison_may_stop() -> None:
    rule = UntilDecided(margin=0.05, most=8)
    far, near, open_ = 1 + rng(7).normal(0, 0.1, 8), rng(8).normal(0, 0.01, 8), rng(9).normal(0.3, 1.0, 8)
    differences = {"far": far[:7], "near": near[:7], "open": open_[:7]}
    assert rule.look({k: d.tolist() for k, d in differences.items()}) == {
        "far": "different",
        "near": "equivalent",
        "open": None,
    }
    assert not rule.over({k: d.tolist() for k, d in differences.items()})
    assert rule.over({"far": far[:7].tolist(), "open": open_.tolist()})
    d = 1 + np.array([-0.2, 0.1, 0.3, -0.1, -0.25])
    assert 20 <= float(e_value(d)) < 40, "enough for one comparison, not for one of two"
    assert UntilDecided(None).look({"a": d.tolist()}) == {"a": "different"}
    assert UntilDecided(None).look({"a": d.tolist(), "b": [0.0]}) == {"a": None, "b": None}


@pytest.mark.parametrize("n", [3, 6, 9])
def test_signs_are_scipys_permutation_test(n: int) -> None:
    d = np.round(rng(n).normal(0.5, 1.0, n), 1)  # equal sums occur

    def mean(x: np.ndarray, axis: int) -> np.ndarray:
        return x.mean(axis=axis)

    expected = stats.permutation_test((d,), mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(d) == pytest.approx(expected.pvalue)
    assert sign_flip(np.ones(n)) == 2 / 2**n
    assert sign_flip(np.zeros(n)) == 1.0 and math.isnan(sign_flip(np.ones(41)))


def test_wins_have_the_interval_of_clopper_and_pearson() -> None:
    found = wins([0.1, 0.2, -0.1, 0.0, 0.3, 0.4])
    exact = stats.binomtest(4, 5).proportion_ci(method="exact")
    assert (found.wins, found.n) == (4, 5)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert wins([1.0, 2.0]).high == 1.0 and wins([-1.0]).low == 0.0 and wins([0.0]) == wins([0.0, 0.0])


def test_bootstrap_t_by_hand() -> None:
    d = np.array([0.1, 0.4, 0.2, 0.9])
    found = []
    for chosen in itertools.product(d, repeat=4):
        drawn = np.array(chosen)
        if drawn.std() > 0:
            found.append((drawn.mean() - d.mean()) / (drawn.std(ddof=1) / 2))
    low, high = np.quantile(found, [0.025, 0.975])
    error = d.std(ddof=1) / 2
    assert bootstrap_t(d) == pytest.approx((d.mean() - high * error, d.mean() - low * error))
    many = rng(1).normal(1.0, 1.0, 30)
    assert bootstrap_t(many) == pytest.approx(stats.ttest_1samp(many, 0).confidence_interval(), abs=0.1)
    assert all(map(math.isnan, (*bootstrap_t([1.0, 2.0]), *bootstrap_t([1.0, 1.0, 1.0]))))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_the_rule() -> None:
    assert judge(0.1, 0.05, 0.15, 0.01, 0.02, higher=True) == "better"
    assert judge(0.1, 0.05, 0.15, 0.01, 0.02, higher=False) == "worse"
    assert judge(0.1, 0.05, 0.15, 0.06, 0.02, higher=True) == "undecided", "sure alone, not among so many"
    assert judge(0.0, -0.01, 0.01, 1.0, 0.02, higher=True) == "equivalent"
    assert judge(0.0, -0.01, 0.01, 1.0, None, higher=True) == "undecided"
    assert judge(0.01, 0.005, 0.015, 0.001, 0.02, higher=True) == "better", "small, but sure"
    assert judge(0.0, -0.01, 0.03, 1.0, 0.02, higher=True) == "undecided"


def test_power_is_that_of_the_noncentral_t() -> None:
    for n, effect, alpha in ((5, 1.0, 0.05), (10, 0.7, 0.01), (3, 3.0, 0.05)):
        t, shift = stats.t.ppf(1 - alpha / 2, n - 1), effect * math.sqrt(n)
        expected = stats.nct.sf(t, n - 1, shift) + stats.nct.cdf(-t, n - 1, shift)
        assert power(n, effect, alpha) == pytest.approx(expected, rel=1e-9)
    assert power(50, 40.0) == 1.0
    table = {3: 3.26, 4: 2.13, 5: 1.68, 6: 1.43, 8: 1.16, 10: 1.00, 20: 0.66}
    assert {n: round(detectable(n), 2) for n in table} == table
    assert replicates_needed(0.66, 1.0) == 21 and power(21, 0.66) >= 0.8 > power(20, 0.66)
    assert replicates_needed(5.0, 1.0) == 5 and replicates_needed(1.0, 0.0) == 5 and replicates_needed(0.0, 0.0) is None
    assert replicates_needed(0.0, 1.0) is None and replicates_needed(1e-4, 1.0) is None
    d = rng(10).normal(1.0, 1.0, (TIMES, 10))
    assert (intervals.of_replicates(d).p <= 0.05).mean() == pytest.approx(power(10, 1.0), abs=0.02)


@pytest.mark.parametrize(("draw", "methods"), [(study.normal, 2), (study.shares, 2), (study.shares, 6)])
def test_a_method_is_not_better_than_itself(draw: study.Draw, methods: int) -> None:
    generator = rng(11)
    assert study.same_method(generator, draw(generator, 1, 100)[0], 5, methods, times=200) <= 0.05


def test_the_page_has_every_table() -> None:
    lines = list(page(200, {"cat, kps_class": rng(12).normal(size=12)}))
    assert sum(line.count("| ---") > 0 for line in lines) == 8
    assert any(line.startswith("| cat, kps_class | ") and line.count("too few cells") == 2 for line in lines)


def test_differences_drawn_again_cover_their_mean() -> None:
    pool = study.shares(rng(13), 1, 200)[0]
    for n in study.COUNTS:
        assert abs(study.coverage_resampled(rng(14), pool, n, TIMES) - 0.95) <= 2 * ERROR


def test_ten_values_drawn_again_cover_less_than_they_should_even_if_normal() -> None:
    large, small = (study.coverage_redrawn(rng(15), size, 5, pools=100, times=500) for size in (400, 10))
    assert large == pytest.approx(0.95, abs=0.01)
    assert 0.91 <= small <= 0.94


def test_pools_become_one_whatever_their_mean_and_spread() -> None:
    pools = np.array([[1.0, 2.0, 3.0], [-10.0, 0.0, 10.0], [5.0, 5.0, 5.0]])
    assert study.pooled(pools).tolist() == [-1.0, 0.0, 1.0, -1.0, 0.0, 1.0]


def test_a_runs_own_differences_are_drawn_again_beside_their_yardstick() -> None:
    run = Run.open(SHIPPED / "faces5")
    pools, lines = pools_of(run), list(of_run(run, 50))
    assert len(pools) == 30 and {len(pool) for pool in pools.values()} == {10}  # six methods, five figures
    shares = [[float(cell) for cell in line.split("|")[3:6]] for line in lines if "mean of" in line or "pool" in line]
    ours, yardstick, pooled, pooled_yardstick = shares[-4:]  # of ten replicates, for n = 3, 5 and 10
    assert ours == pytest.approx(yardstick, abs=0.04)
    assert pooled == pytest.approx(pooled_yardstick, abs=0.1)
    assert sum(line.startswith("| clora − lora, ") for line in lines) == 5
