"""Which pictures are made together."""

from cat_bench.benchmark.planning.items import portions


def test_kinds_share_no_portion_and_a_kind_is_cut_the_same_whatever_comes_before_it() -> None:
    cut = [(part.start, part.stop) for part in portions("aaaaabbbc", 4)]
    assert cut == [(0, 4), (4, 5), (5, 8), (8, 9)]
    for before in range(1, 9):
        found = [part for part in portions("a" * before + "b" * 7, 4) if part.start >= before]
        assert [(part.start - before, part.stop - before) for part in found] == [(0, 4), (4, 7)]
    assert list(portions("", 4)) == []
