"""Sequences are data with an identity: loading, orders, fingerprints, and every way to get one wrong."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import numpy as np
import pytest

from cat_bench.tasks.avatars.inhabitants import inhabitants
from cat_bench.tasks.errors import TaskError
from cat_bench.tasks.sequence import SHIPPED, load_sequence, sequence_names

NAMES = ("dev3", "faces10", "faces5", "mixed6", "objects5", "smoke2", "twins4")
PHOTOS = ("celeba10", "cifc10", "dreambooth10", "landmarks10")


def test_the_shipped_sequences():
    assert sequence_names() == tuple(sorted((*NAMES, *PHOTOS)))
    assert [len(load_sequence(n).concepts) for n in NAMES] == [3, 10, 5, 6, 5, 2, 4]


@pytest.mark.parametrize("name", NAMES)
def test_a_released_sequence_is_as_it_was_released(name):
    known = tomllib.loads(SHIPPED.joinpath("fingerprints.toml").read_text("utf-8"))
    sequence = load_sequence(name)
    assert known[f"{sequence.id}.v{sequence.version}"] == sequence.fingerprint
    sequence.check()


def test_prompts_are_no_part_of_what_is_learned_from():
    concept = load_sequence("smoke2").concepts[0]
    assert concept.learning_fingerprint != concept.fingerprint
    asked = replace(concept, prompts=(*concept.prompts, "a {} at sea"))
    assert asked.learning_fingerprint == concept.learning_fingerprint and asked.fingerprint != concept.fingerprint
    other = load_sequence("smoke2").concepts[1]
    looks = replace(concept, look=other.look), replace(concept, trigger="zwz"), replace(concept, id="other")
    assert len({one.learning_fingerprint for one in (concept, *looks)}) == 4


@pytest.mark.parametrize("name", NAMES)
def test_every_concept_shows_a_part_never_seen_in_pretraining_and_has_a_name_nobody_bears(name):
    for concept in load_sequence(name).concepts:
        assert any(v in concept.kind.parts[p].held_out for p, v in concept.look.parts.items())
        assert concept.trigger not in inhabitants()


@pytest.mark.parametrize("name", NAMES)
def test_preservation_strata_are_what_they_say(name):
    sequence = load_sequence(name)
    nouns = {c.noun for c in sequence.concepts}
    triggers = {c.trigger for c in sequence.concepts}
    assert set(sequence.preservation) == {"class", "other", "unknown", "named"}
    for prompt in sequence.preservation["other"]:
        assert not any(prompt == f"a {noun}" or prompt.startswith(f"a {noun} ") for noun in nouns)
    for prompt in sequence.preservation["class"]:
        assert any(prompt.startswith(f"a {noun}") for noun in nouns)
    for prompt in sequence.preservation["named"]:
        assert prompt.split()[1] in inhabitants()
    for prompt in sequence.preservation["unknown"]:
        assert prompt.split()[1] not in {*inhabitants(), *triggers}


@pytest.mark.parametrize("name", ["faces5", "faces10", "objects5", "twins4", "mixed6"])
def test_there_are_enough_prompts_to_judge_by(name):
    sequence = load_sequence(name)
    assert sum(map(len, sequence.preservation.values())) >= 32
    assert all(len(c.prompts) >= 6 for c in sequence.concepts)


def test_faces10_starts_with_faces5_and_dev3_shares_no_unseen_part():
    faces5, faces10, dev3 = (load_sequence(n) for n in ("faces5", "faces10", "dev3"))
    assert [c.fingerprint for c in faces10.concepts[:5]] == [c.fingerprint for c in faces5.concepts]
    others = [c for name in NAMES if name != "dev3" for c in load_sequence(name).concepts]
    assert not unseen(dev3.concepts) & unseen(others)


def unseen(concepts):
    """The parts that no pretraining picture shows."""
    parts = {
        (c.kind.id, name, v, v in c.kind.parts[name].held_out) for c in concepts for name, v in c.look.parts.items()
    }
    return {(kind, name, variant) for kind, name, variant, held_out in parts if held_out}


def test_the_two_of_a_pair_of_twins_differ_in_one_part():
    one, other, third, fourth = load_sequence("twins4").concepts
    for first, second in ((one, other), (third, fourth)):
        assert first.look.colors == second.look.colors
        assert sum(first.look.parts[name] != second.look.parts[name] for name in first.look.parts) == 1


def test_triggers_are_made_as_names_are_and_apart_from_each_other():
    syllables = {name[i : i + 2] for name in inhabitants() for i in (0, 2, 4)}
    for name in NAMES:
        triggers = [c.trigger for c in load_sequence(name).concepts]
        assert all({t[i : i + 2] for i in (0, 2, 4)} <= syllables and len(t) == 6 for t in triggers)
        assert len({t[:2] for t in triggers}) == len({t[4:] for t in triggers}) == len(triggers) or len(triggers) > 5


def test_a_concepts_pictures():
    concept = load_sequence("faces5").concepts[0]
    train, references = concept.train_pictures, concept.reference_pictures
    assert (len(train), len(references), len(concept.train_captions)) == (6, 12, 6)
    assert len({p.scene.background for p in train}) == 6
    assert len({p.scene.expression for p in train}) == 6
    assert not {str(p.spec()) for p in train} & {str(p.spec()) for p in references}
    image = concept.train_images(64)[0]
    assert image.size == (64, 64)
    assert np.asarray(image).std() > 10
    for caption, picture in zip(concept.train_captions, train, strict=True):
        assert caption.startswith("a {}")
        assert picture.scene.background in caption


def test_the_three_forms_of_a_prompt():
    concept = load_sequence("faces5").concepts[0]
    assert concept.fill("a {}, smiling", "trigger") == "a kafido person, smiling"
    assert concept.fill("a {}, smiling", "noun") == "a person, smiling"
    assert concept.fill("a {}, smiling", "token") == "a kafido, smiling"
    with pytest.raises(TaskError, match="unknown form"):
        concept.fill("a {}", "class")


def test_orders_are_balanced_and_numbered_up_to_all_there_are():
    sequence = load_sequence("faces5")
    assert sequence.ordered(0) == sequence.concepts
    last = [sequence.ordered(n)[-1].id for n in range(10)]
    assert {last.count(c.id) for c in sequence.concepts} == {2}  # nobody is always learned last
    assert sequence.ordered(7, seed=3) == sequence.ordered(7, seed=3)
    for order in (-1, 120):
        with pytest.raises(TaskError, match=f"faces5 has no order {order}: 5 concepts have 120 orders"):
            sequence.ordered(order)
    assert len({tuple(c.id for c in sequence.ordered(n)) for n in range(120)}) == 120


def test_a_changed_sequence_is_noticed():
    from dataclasses import replace

    sequence = load_sequence("smoke2")
    with pytest.raises(TaskError, match="not as it was released"):
        replace(sequence, concepts=sequence.concepts[:1]).check()
    replace(sequence, version="3", concepts=sequence.concepts[:1]).check()  # another version may differ


MINE = """
id = "mine"
version = "1"
title = "Mine"
license = "CC0"
citation = "me"
prompts = { robot = ["a {}"] }
[[concept]]
id = "beep"
kind = "robot"
parts = { head = "round01" }
colors = { base = "blue" }
"""


def test_a_sequence_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MINE, "utf-8")
    sequence = load_sequence(path)
    assert (sequence.id, sequence.concepts[0].noun, sequence.concepts[0].trigger) == ("mine", "robot", "beep")
    sequence.check()
    path.write_text(MINE.replace('["a {}"]', '["a {} with {hat}", "a {} and {"]'), "utf-8")
    (concept,) = load_sequence(path).concepts
    assert [concept.fill(prompt, "trigger") for prompt in concept.prompts] == [
        "a beep robot with {hat}",
        "a beep robot and {",
    ]
    path.write_text(MINE.replace("[[concept]]", "[preservation]\nclass = []\nother = ['a tree']\n[[concept]]"), "utf-8")
    assert load_sequence(path).preservation == {"other": ("a tree",)}
    head, _, concepts = MINE.partition("[[concept]]")
    (tmp_path / "prompts.toml").write_text("concept = []\n" + head, "utf-8")
    with pytest.raises(TaskError, match="has no concept"):
        load_sequence(tmp_path / "prompts.toml")
    title = head[: head.index("prompts")]
    path.write_text(f'extends = "prompts.toml"\n{title}[[concept]]{concepts}', "utf-8")
    assert load_sequence(path).concepts == sequence.concepts, "a base may have prompts alone"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('kind = "robot"', 'kind = "rabbit"', "unknown kind of picture 'rabbit'"),
        ('head = "round01"', 'hat = "round01"', "'hat' is not an identity part of a robot; it has head"),
        ('head = "round01"', 'head = "oval"', "part 'head' has no variant 'oval'; it has round01"),
        ('base = "blue"', 'skin = "blue"', "colours must be given for base; given: skin"),
        ('base = "blue"', 'base = "beige"', "colour base has no 'beige'; it has red"),
        ('["a {}"]', '["a robot"]', "needs a list for 'robot', each with a {}"),
        ('title = "Mine"', "", "key title: Field required"),
        ('title = "Mine"', 'titel = "Mine"\ntitle = "Mine"', "key titel"),
        ('title = "Mine"', "title = ", "is not valid TOML"),
        (MINE[MINE.index("[[concept]]") :], "", "key concept: Field required"),
        ('kind = "robot"', 'kind = "robot"\nhair = "red"', "key concept.0.hair: there is no such key"),
        (
            "[[concept]]",
            '[[concept]]\nid = "beep"\nkind = "robot"\ncolors = { base = "red" }\n[[concept]]',
            "two concepts with id 'beep'",
        ),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, says):
    path = tmp_path / "mine.toml"
    path.write_text(MINE.replace(old, new), "utf-8")
    with pytest.raises(TaskError) as error:
        load_sequence(path)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_and_unreadable_sequences(tmp_path):
    with pytest.raises(TaskError, match="did you mean 'faces5'"):
        load_sequence("face5")
    with pytest.raises(TaskError, match="cannot be read"):
        load_sequence(tmp_path / "none.toml")
