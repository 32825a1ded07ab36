"""Labels: one for all ways to write the same, read back as they were, and harmless as names of folders."""

from __future__ import annotations

import pytest

from cat_bench.benchmark.errors import SpecError
from cat_bench.benchmark.planning.spec import resolve
from cat_bench.benchmark.planning.variant import LONGEST, Variant, configure, names_of
from cat_bench.methods.cat import CAT
from cat_bench.methods.clora import CLoRA
from cat_bench.methods.errors import MethodError
from cat_bench.methods.merge import Merge


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ("cat", "cat"),
        ("my.v2-x", "my.v2-x"),
        ("cat[lr=2e-3]", "cat[lr=0.002]"),
        ("cat[lr=2.0e-3]", "cat[lr=0.002]"),
        ("cat[lr=0.0020]", "cat[lr=0.002]"),
        ("cat[lr=5e-5]", "cat[lr=5e-5]"),
        ("cat[lr=0.00005]", "cat[lr=5e-5]"),
        ("clora[weight=1e6]", "clora[weight=1000000]"),
        ("clora[weight=1e+6]", "clora[weight=1000000]"),
        ("clora[weight=1e300]", "clora[weight=1e300]"),
        ("cat[weight=-0.0]", "cat[weight=0]"),
        (" cat[ weight=0.5, lr=1.0 ] ", "cat[lr=1,weight=0.5]"),
        ("cat[noun=true]", "cat[noun=true]"),
        ("merge[targets=attn2.to_k]", "merge[targets=attn2.to_k]"),
        ("merge[targets=attn2.to_v+attn2.to_k]", "merge[targets=attn2.to_v+attn2.to_k]"),
        ("clora[preset=paper]", "clora[preset=paper]"),
        ("cat[day=2024-01-02]", "cat[day=2024-01-02]"),
    ],
)
def test_one_label_for_all_ways_to_write_it(given: str, label: str) -> None:
    variant = Variant.parse(given)
    assert variant.label == label
    assert Variant.parse(label).label == label


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "give a method's name"),
        ("..", "give a method's name"),
        ("cat/lora", "letters, digits and"),
        ("cät", "letters, digits and"),
        ("cat[", "give NAME or NAME"),
        ("cat]", "give NAME or NAME"),
        ("[lr=1]", "give NAME or NAME"),
        ("cat[]", "'' is not key=value"),
        ("cat[lr]", "'lr' is not key=value"),
        ("cat[lr=]", "'lr=' is not key=value"),
        ("cat[lr=1,]", "'' is not key=value"),
        ("cat[lr=1][lr=2]", "is not key=value"),
        ("cat[a.b=1]", "is not key=value"),
        ("cat[lr=../..]", "is not key=value"),
        ("cat[lr=`x`]", "is not key=value"),
        ("cat[lr=1,lr=2]", "lr is given twice"),
        ("cat[lr=nan]", "nan is no number to compute with"),
        ("merge[targets=to_k+]", "has nothing on one side of a +"),
        (f"merge[targets={'+'.join(['to_k'] * 30)}]", f"{LONGEST} characters must do"),
    ],
)
def test_what_is_no_label(given: str, says: str) -> None:
    with pytest.raises(SpecError) as error:
        Variant.parse(given)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_variants_own_settings_win_over_its_methods_and_these_over_the_preset() -> None:
    spec = resolve(
        {"methods": ["cat", "cat[weight=0]", "cat[lr=2e-3,steps=7]", "clora[preset=paper]"]},
        {"overrides": {"cat": {"lr": 1e-4, "steps": 9}}},
    )
    assert spec.methods == ("cat", "cat[weight=0]", "cat[lr=0.002,steps=7]", "clora[preset=paper]")
    assert names_of(spec.methods) == ("cat", "clora")
    found = [configure(label, spec.overrides, "avatars64.v2") for label in spec.methods]
    assert [cls for cls, _ in found] == [CAT, CAT, CAT, CLoRA]
    plain, weightless, fast, paper = (config.model_dump() for _, config in found)
    assert (plain["lr"], plain["steps"], plain["weight"]) == (1e-4, 9, 6.0)
    assert weightless == {**plain, "weight": 0.0}
    assert fast == {**plain, "lr": 2e-3, "steps": 7}
    assert paper == CLoRA.configure("paper").model_dump()


def test_texts_are_joined_for_a_setting_of_several_and_one_will_do() -> None:
    assert Variant.parse("merge[targets=to_k]").differences(Merge.Config) == {"targets": ("to_k",)}
    assert Variant.parse("merge[targets=to_k+to_v]").differences(Merge.Config) == {"targets": ("to_k", "to_v")}
    assert Variant.parse("ortho[variant=paper]").differences(Merge.Config) == {"variant": "paper"}


def test_an_error_in_a_setting_names_the_label() -> None:
    spec = resolve({"methods": ["cat[lr=-1.0]"]})
    with pytest.raises(MethodError, match=r"^cat\[lr=-1\]: method cat: lr = -1: "):
        configure(spec.methods[0], {}, None)
