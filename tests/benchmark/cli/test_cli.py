"""What a user types wrong, and what can be listed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cat_bench.benchmark.cli import main as cli
from cat_bench.benchmark.cli.flags import numbers, overrides, words
from cat_bench.benchmark.cli.follow import Stopped, _stop
from cat_bench.benchmark.errors import SpecError
from cat_bench.benchmark.planning.spec import cells, resolve


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["cat-bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--sequence", "face5"], "unknown sequence 'face5': did you mean 'faces5'?"),
        (
            ["run", "--sequence", "bogus"],
            "unknown sequence 'bogus': give one of these, or the path of a TOML file: celeba10,",
        ),
        (["run", "--method", "lroa"], "unknown method 'lroa'; did you mean 'lora'?"),
        (["run", "--method", "lora,lora"], "methods: lora given twice"),
        (["run", "--method", "cat[weight=0],cat[weight=0.0]"], "methods: cat[weight=0] given twice"),
        (["run", "--method", "cat[weight=0"], "method 'cat[weight=0': give NAME or NAME[key=value,key=value]"),
        (["run", "--method", "lroa[lr=1]"], "unknown method 'lroa'; did you mean 'lora'?"),
        (["run", "--method", "cat[../weight=1]"], "'../weight=1' is not key=value, of letters, digits and"),
        (
            ["run", "--method", "lora,cat[wieght=1]"],
            "cat[wieght=1]: method cat: no setting 'wieght'; did you mean 'wei",
        ),
        (["run", "--method", "cat[lr=fast]"], "cat[lr=fast]: method cat: lr = 'fast': Input should be a valid number"),
        (["run", "--method", "cat[preset=papr]"], "cat[preset=papr]: method cat: no preset 'papr'; it has: paper"),
        (
            ["run", "--method", "lora,lora[lr=1e-3]"],
            "methods lora and lora[lr=0.001] have the same settings: leave one",
        ),
        (["run", "--backbone", "no-such-model"], "backbone 'no-such-model' not found"),
        (["run", "--dino", "dino-vits16"], "DINO model 'dino-vits16' not found; did you mean 'facebook/dino-vits16'?"),
        (["run", "--seeds", "one"], "--seeds 'one': give numbers such as"),
        (["run", "--seeds", "0-900000000"], "--seeds '0-900000000': give at most 10,000 numbers at once"),
        (["run", "--orders", "0-5000,0-5000"], "--orders '0-5000,0-5000': give at most 10,000 numbers at once"),
        (["run", "--seeds", str(2**63)], "--seeds: 9223372036854775808 is too large; give numbers below 2**63"),
        *(
            (["run", flag, "100000000"], "input should be less than or equal to 10000 (given: 100000000)")
            for flag in ("--images", "--preservation-images", "--diversity-images", "--replicates", "--until-decided")
        ),
        (["run", "--replicates", "0"], "replicates: input should be greater than or equal to 1 (given: 0)"),
        (["run", "--replicates", "2", "--seeds", "0-4"], "seeds: replicates are orders and seeds already; leave out"),
        (["run", "--replicates", "2", "--orders", "0"], "orders: replicates are orders and seeds already; leave out"),
        (["run", "--until-decided", "4"], "until_decided: input should be greater than or equal to 5 (given: 4)"),
        (["run", "--until-decided", "9", "--seeds", "0"], "seeds: replicates are orders and seeds already; leave out"),
        (
            ["run", "--until-decided", "9", "--replicates", "2"],
            "is the most replicates already; leave --replicates out",
        ),
        (["run", "--until-decided", "9", "--method", "cat"], "--until-decided compares methods: give two or more"),
        (["run", "--until-decided", "9", "--decide", "kps_clas"], "no such figure; did you mean 'kps_class'?"),
        (["run", "--until-decided", "121"], "sequence faces5 has no order 120"),
        (["run", "--decide", "kps_class"], "say how many replicates at most with --until-decided N"),
        (["compare", "one"], "compare: give two runs, or one and --against reference"),
        (["compare", "one", "two", "--against", "reference"], "compare: give two runs, or one and --against reference"),
        (["compare", "one", "two"], "there is no run 'one' in runs"),
        (["run", "--set", "cat"], "--set 'cat': give METHOD.KEY=VALUE"),
        (["run", "--method", "lora", "--set", "cat.weight=1"], "given for cat, which is not among the methods"),
        (["run", "--method", "lora", "--set", "lroa.lr=1"], "among the methods of this run; did you mean 'lora'?"),
        (["run", "--steps", "0"], "sampler.steps: input should be greater than or equal to 1 (given: 0)"),
        (["run", "--sampler", "euler"], "sampler.name: input should be 'dpm++' or 'ddim'"),
        (
            ["run", "--stages", "diagonal"],
            "the run's settings: stages: input should be 'all', 'diagonal+last' or 'last' (given: 'diagonal')",
        ),
        (["run", "--spec", "none.toml"], "none.toml cannot be read as TOML"),
        (["run", "--threads", "2"], "threads: CPU threads are no setting any more: every worker computes with one"),
        (["run", "--workers", "many"], "--workers 'many': give a number, or auto"),
        (["run", "--workers", "0"], "--workers 0: there must be at least one"),
        (["run", "--workers-per-gpu", "0"], "--workers-per-gpu 0: there must be at least one"),
        (["run", "--methd", "lora"], "No such option"),
        (["rn"], "No such command 'rn'"),
        (["list", "models"], "'models' is not one of"),
        (["show"], "there is no run in runs"),
        (["report", "nothing"], "there is no run 'nothing' in runs"),
        (["validate", "--sequence", "face5"], "unknown sequence 'face5'"),
        (["validate", "--out", "page.html"], "the page is an .md file"),
        (["validate", "--quick", "--ship"], "are not to be shipped"),
        (["validate", "--set", "cat.weight=1"], "given for cat, which is not among the methods"),
        (["validate", "--backbone", "no-such-model"], "backbone 'no-such-model' not found"),
    ],
)
def test_user_errors_are_one_line_and_leave_nothing_behind(
    arguments: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.strip().splitlines()) == 1
    assert err.startswith("cat-bench: ") and says in err
    assert list(tmp_path.iterdir()) == []


def test_a_spec_file_is_checked_key_by_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text("[sampler]\nguidence = 3\n")
    assert call(monkeypatch, "run", "--spec", str(tmp_path / "mine.toml")) == 2
    assert "there is no key 'sampler.guidence'; did you mean 'guidance'?" in capsys.readouterr().err


def test_later_layers_win_key_by_key() -> None:
    spec = resolve({"sampler": {"steps": 7}, "methods": ["cat"]}, {"sampler": {"guidance": 2.0}, "seeds": (3, 4)})
    assert (spec.sampler.steps, spec.sampler.guidance, spec.methods) == (7, 2.0, ("cat",))
    assert [cell.path for cell in cells(spec)] == ["cat/order0-seed3", "cat/order0-seed4"]


def test_replicates_are_an_order_and_a_seed_each_and_outermost() -> None:
    spec = resolve({"methods": ["cat", "lora"], "replicates": 3})
    paths = [cell.path for cell in cells(spec)]
    assert paths == [f"{method}/order{r}-seed{r}" for r in range(3) for method in ("cat", "lora")]
    written = spec.model_dump(mode="json")
    assert written["replicates"] == 3 and not {"seeds", "orders"} & set(written)
    assert resolve(written) == spec
    plain = resolve({"orders": (0, 2), "seeds": (5, 7)})
    assert plain.pairs == ((0, 5), (2, 5), (0, 7), (2, 7))
    assert "replicates" not in plain.model_dump() and resolve(plain.model_dump(mode="json")) == plain


def test_flags_as_settings() -> None:
    assert numbers("0,2-4", "--seeds") == (0, 2, 3, 4)
    assert words(["lora,cat", "merge"]) == ("lora", "cat", "merge")
    assert words(["cat[weight=0,lr=2e-3], lora", "clora[preset=paper],merge"]) == (
        *("cat[weight=0,lr=2e-3]", "lora"),
        *("clora[preset=paper]", "merge"),
    )
    assert overrides(["cat.weight=6", "my.v2.mode=fast", "steps=5"], ("cat", "lora")) == {
        "cat": {"weight": 6, "steps": 5},
        "my.v2": {"mode": "fast"},
        "lora": {"steps": 5},
    }
    with pytest.raises(SpecError):
        numbers("4-2", "--orders")
    assert len(numbers("0-9999", "--seeds") or ()) == 10_000 and numbers(str(2**63 - 1), "--seeds") == (2**63 - 1,)


@pytest.mark.parametrize("key", ["seeds", "orders"])
def test_a_file_too_gives_no_more_seeds_or_orders_than_can_be_run(key: str) -> None:
    for given in (range(10_001), [2**63]):
        with pytest.raises(SpecError, match=key):
            resolve({key: list(given)})


@pytest.mark.parametrize(
    ("what", "has"),
    [("methods", "magmax"), ("sequences", "faces5"), ("backbones", "OWNER/NAME"), ("metrics", "concept_accuracy")],
)
def test_lists(what: str, has: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "list", what) == 0
    assert has in capsys.readouterr().out


def test_help_imports_nothing_that_takes_its_time() -> None:
    code = (
        "import sys; sys.argv = ['cat-bench', '--help']\n"
        "from cat_bench.benchmark.cli.main import main\n"
        "try: main()\n"
        "finally: print(','.join({name.split('.')[0] for name in sys.modules}))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(ended.stdout.splitlines()[-1].split(","))
    assert "typer" in loaded
    heavy = {"torch", "numpy", "scipy", "pandas", "pyarrow", "matplotlib", "pydantic", "diffusers", "peft", "ray"}
    assert not heavy & loaded


def test_a_second_signal_ends_the_process_there_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    codes: list[int] = []
    monkeypatch.setattr("os._exit", codes.append)
    try:
        with pytest.raises(Stopped):
            _stop(signal.SIGINT, None)
        signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert codes == [143]
