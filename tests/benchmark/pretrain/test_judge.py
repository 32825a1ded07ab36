"""The metric model's making: facts, damage, twins, the wanted cosines, the part reader, and all of it in miniature."""

from __future__ import annotations

from random import Random

import numpy as np
import open_clip
import pytest
import torch

from cat_bench.benchmark.extractors.clip import MetricModel
from cat_bench.benchmark.extractors.part_reader import NOT_READABLE, PartReader
from cat_bench.benchmark.pretrain.figures.judge import auc, judge_figures
from cat_bench.benchmark.pretrain.figures.reader import reader_figures
from cat_bench.benchmark.pretrain.judge.geometry import CLASS, DEPTH, IDENTITY, Geometry
from cat_bench.benchmark.pretrain.judge.lessons import Lessons
from cat_bench.benchmark.pretrain.judge.metric_model import (
    MetricTrainer,
    metric_tokenizer,
    save_metric_model,
    train_metric_model,
)
from cat_bench.benchmark.pretrain.judge.readings import ReadOut, answers, readable, save_reader, seen
from cat_bench.benchmark.pretrain.pictures.damage import (
    DAMAGES,
    ILLEGIBLE,
    LEGIBLE,
    blur,
    damage,
    erase_face,
    mosaic,
    noise,
)
from cat_bench.benchmark.pretrain.pictures.places import answered, exchange, places
from cat_bench.benchmark.pretrain.pictures.rendered import draw_pair, render_shards
from cat_bench.benchmark.pretrain.pictures.twins import render_twins, twin
from cat_bench.tasks.avatars.drawing import Look, Picture, Scene, render
from cat_bench.tasks.avatars.questions import facts, heads
from cat_bench.tasks.avatars.vocabulary import vocabulary

PARTS = {"top": "bob", "accessories": None, "facialHair": None}
COLORS = {"hair": "black", "hat": "red", "accessories": "blue", "skin": "pale"}
SCENE = Scene(
    "mint",
    {"clothes": "hoodie"},
    {"clothes": "red"},
    "smiling",
    {"eyes": "default", "eyebrows": "default", "mouth": "smile"},
)


def person(**parts):
    return Picture(Look("person", {**PARTS, **parts}, COLORS), SCENE)


def drawn(picture):
    return np.asarray(render(picture, 64))


def head(name):
    return next(h for h in heads() if h.name == name)


def test_a_colour_is_asked_for_where_it_shows():
    bare, hatted = facts(person()), facts(person(top="hijab", accessories="round"))
    assert bare["person/accessories"] == "none" and "person/accessories-color" not in bare
    assert bare["person/hair-color"] == "black" and "person/hat-color" not in bare
    assert hatted["person/hat-color"] == "red" and "person/hair-color" not in hatted
    assert hatted["person/accessories-color"] == "blue"
    assert facts(person(top="hijab", facialHair="beardMedium"))["person/hair-color"] == "black"
    assert all(answer in head(name).answers for name, answer in hatted.items())


def test_a_twin_differs_in_one_thing_that_shows():
    rng = Random(1)
    for _ in range(20):
        picture = draw_pair(rng)[0].picture
        other = twin(picture, rng)
        changed = [n for n in picture.look.parts if picture.look.parts[n] != other.look.parts[n]]
        changed += [s for s in picture.look.colors if picture.look.colors[s] != other.look.colors[s]]
        assert len(changed) == 1


def test_an_answer_can_be_exchanged_or_given():
    rng = Random(0)
    assert answered(person(), head("person/accessories"), "round", rng).look.parts["accessories"] == "round"
    assert answered(person(accessories="round"), head("person/accessories"), "none", rng) == person()
    assert answered(person(), head("person/clothes-color"), "blue", rng).scene.colors["clothes"] == "blue"
    changed = exchange(person(), head("person/expression"), rng)
    assert changed.scene.expression != "smiling" and changed.look == person().look
    assert set(changed.scene.features.values()) != set(SCENE.features.values())


def test_places_are_where_things_are():
    found = places("person")
    rows = np.arange(64)[:, None]
    middle = {name: float((weights * rows).sum()) for name, weights in found.items()}
    assert middle["person/accessories"] < middle["person/facialHair"] < middle["person/clothes"]
    assert found["person/expression"].sum() == pytest.approx(1, abs=1e-5)


def test_damage_grows_with_its_strength_and_says_so():
    x, rng = drawn(person()), np.random.default_rng(0)
    for series in (
        [blur(x, s) for s in (0.5, 1, 2, 4)],
        [mosaic(x, c) for c in (32, 16, 8)],
        [noise(x, s, rng) for s in (10, 20, 40)],
    ):
        error = [np.square(d.pixels.astype(float) - x).mean() for d in series]
        assert error == sorted(error) and error[0] > 0
        assert [d.lost for d in series] == sorted(d.lost for d in series)
    assert blur(x, 1).lost < LEGIBLE and min(blur(x, 2).lost, mosaic(x, 8).lost, noise(x, 40, rng).lost) > ILLEGIBLE
    seen_kinds = {damage(x, "person", False, x, rng).kind for _ in range(60)}
    assert seen_kinds == set(DAMAGES) - {"none"}


def test_an_erased_face_hides_the_expression_and_nothing_far_from_it():
    x = drawn(person())
    found = erase_face(x, "person", False)
    assert found.gone["person/expression"] == pytest.approx(1) and found.gone["person/clothes"] == 0
    assert (found.pixels[20:40, 24:40] == found.pixels[30, 32]).all()
    true = answers(person())
    said = dict(zip([h.name for h in heads()], readable(true, found), strict=True))
    assert said["person/expression"] == len(head("person/expression").answers)
    assert said["person/clothes"] == head("person/clothes").answers.index("hoodie")
    assert said["person/hat-color"] == -1
    assert seen(true, found.gone)[[h.name for h in heads()].index("person/expression")] == -1


def test_a_picture_too_damaged_is_not_to_be_read_at_all():
    true, x = answers(person()), drawn(person())
    sizes = np.array([len(h.answers) for h in heads()])
    said = readable(true, blur(x, 3))
    assert (said[true >= 0] == sizes[true >= 0]).all() and (said[true < 0] == -1).all()
    assert (readable(true, blur(x, 0.5)) == true).all()


def test_the_wanted_cosines():
    geometry = Geometry(len(DAMAGES))
    subject, other = person(accessories="round"), person(accessories="round", top="fro")
    robot = next(p for p in (draw_pair(Random(i))[0].picture for i in range(200)) if p.look.kind == "robot")
    known = torch.from_numpy(np.stack([answers(p) for p in (subject, other, robot, subject)])).long()
    vectors = geometry.vectors(known, torch.tensor([0, 0, 0, 0.5]), torch.tensor([0, 0, 0, 1]))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    wanted = vectors @ vectors.T
    assert wanted[0, 1] == pytest.approx(1 - IDENTITY / 7, abs=1e-5)  # a person has seven parts and colours
    assert wanted[0, 2] == 0 and CLASS > 0
    assert wanted[0, 3] == pytest.approx(1 - DEPTH / 2, abs=1e-5)


def test_the_reader_reads_with_numpy_what_it_learned_with_torch(tmp_path):
    torch.manual_seed(0)
    read_out = ReadOut(16).half().float()
    save_reader(read_out, tmp_path)
    reader = PartReader.load(tmp_path)
    vectors = torch.nn.functional.normalize(torch.randn(40, 16), dim=1)
    best, found = read_out(vectors).argmax(2).numpy(), reader.read(vectors.numpy())
    kinds = list(vocabulary().kinds)
    for column, question in enumerate(reader.questions):
        for row in range(40):
            said = question.answers[best[row, column]]
            own = question.kind in (None, found["class"][row])
            assert found[question.name][row] == (said if own else NOT_READABLE)
    assert set(found["class"]) <= {*kinds, NOT_READABLE}
    assert list(reader.read(vectors.numpy(), ["background"])) == ["background"]


def test_auc():
    assert auc(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == pytest.approx(3.5 / 4)


def test_the_metric_model_in_miniature(tmp_path, monkeypatch):
    monkeypatch.setattr("cat_bench.benchmark.pretrain.pictures.rendered.SHARD", 12)
    monkeypatch.setattr("cat_bench.benchmark.pretrain.judge.lessons.INDIVIDUALS", 4)
    pairs, twins = tmp_path / "pairs", tmp_path / "twins"
    list(render_shards(pairs, "seed", range(2), 64, True, 1))
    assert list(render_twins(twins, pairs, [0], 64)) == ["0000.npy"]
    lessons = Lessons(pairs, twins, range(2))
    lesson = lessons.draw(3, Geometry(len(DAMAGES)))
    assert lesson.pixels.shape == (16, 64, 64, 3) and len(lesson.texts) == 4
    again = lessons.draw(3, Geometry(len(DAMAGES)))
    assert np.array_equal(lesson.pixels, again.pixels) and lesson.texts == again.texts
    tokenizer = metric_tokenizer()
    *news, trainer = train_metric_model(lessons, tokenizer, 2, tmp_path / "ckpt", "cpu", seed=0)
    assert isinstance(trainer, MetricTrainer) and [n.step for n in news] == [1, 2]
    save_metric_model(trainer, tokenizer, tmp_path / "judge")
    assert open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'judge'}")
    judge, reader = MetricModel.load(tmp_path / "judge", device="cpu"), PartReader.load(tmp_path / "judge")
    figures = [*judge_figures(judge, 0.0), *reader_figures(judge, reader, 0.0)]
    assert len({f.id for f in figures}) == len(figures) and all(f.n for f in figures)
