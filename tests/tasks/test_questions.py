"""What a concept of the avatar world is asked: its identity, what of it is held out, what a prompt wants to see."""

from __future__ import annotations

import pytest

from cat_bench.tasks.avatars.asked import asked
from cat_bench.tasks.avatars.concept import AvatarConcept
from cat_bench.tasks.avatars.questions import heads
from cat_bench.tasks.avatars.vocabulary import vocabulary
from cat_bench.tasks.entries import read_entry, sequence_names
from cat_bench.tasks.sequence import load_sequence

AVATARS = [name for name in sequence_names() if not read_entry(name)[0].photos]
WORDS = {
    "": {},
    "smiling": {"expression": {"smiling"}},
    "laughing": {"expression": {"laughing"}},
    "surprised": {"expression": {"surprised"}},
    "sad": {"expression": {"sad"}},
    "angry": {"expression": {"angry"}},
    "sleeping": {"expression": {"sleeping"}},
    "happy": {"expression": {"happy"}},
    "with bare teeth": {"expression": {"with bare teeth"}},
    "with a flat mouth": {"expression": {"with a flat mouth"}},
    "with a visor": {"expression": {"with a visor"}},
    "wearing a red hoodie": {"clothes": {"hoodie"}, "clothes-color": {"red"}},
    "wearing a green blazer": {"clothes": {"blazerAndShirt"}, "clothes-color": {"green"}},
    "wearing a blue sweater": {"clothes": {"collarAndSweater"}, "clothes-color": {"blue"}},
    "on a navy background": {"background": {"navy"}},
    "on a yellow background": {"background": {"yellow"}},
    "on a pink background": {"background": {"pink"}},
    "smiling, on a yellow background": {"expression": {"smiling"}, "background": {"yellow"}},
    "winking, on a yellow background": {"expression": {"winking"}, "background": {"yellow"}},
    "laughing, on a yellow background": {"expression": {"laughing"}, "background": {"yellow"}},
    "happy, on a yellow background": {"expression": {"happy"}, "background": {"yellow"}},
    "sad, wearing a white shirt, on a mint background": {
        "expression": {"sad"},
        "clothes": {"shirtCrewNeck"},
        "clothes-color": {"white"},
        "background": {"mint"},
    },
    "winking, wearing a black shirt, on a green background": {
        "expression": {"winking"},
        "clothes": {"shirtCrewNeck"},
        "clothes-color": {"black"},
        "background": {"green"},
    },
}


def concepts() -> list[AvatarConcept]:
    found = [concept for name in AVATARS for concept in load_sequence(name).concepts]
    assert all(isinstance(concept, AvatarConcept) for concept in found)
    return found  # type: ignore[return-value]


def full(answers: dict[str, set[str]], kind: str) -> dict[str, frozenset[str]]:
    return {q if q == "background" else f"{kind}/{q}": frozenset(a) for q, a in answers.items()}


def test_every_template_of_every_shipped_sequence_asks_what_its_words_say() -> None:
    used = set()
    for concept in concepts():
        for template in concept.prompts:
            words = template.removeprefix("a {}").removeprefix(",").strip()
            used.add(words)
            assert concept.asked(template) == full(WORDS[words], concept.kind.id), template
    assert used == set(WORDS)  # none is worked out in vain


def test_what_is_asked_is_a_question_with_that_answer() -> None:
    known = {head.name: set(head.answers) for head in heads()}
    for concept in concepts():
        for template in (*concept.prompts, *concept.train_captions):
            for question, answers in concept.asked(template).items():
                assert answers and answers <= known[question]


@pytest.mark.parametrize(
    ("template", "kind", "expected"),
    [
        ("a {} on an orange background", "person", {"background": {"orange"}}),
        ("a {} on a orange background", "person", {"background": {"orange"}}),
        ("a {} wearing a hoodie", "person", {"clothes": {"hoodie"}}),
        ("a {} wearing red overalls", "person", {"clothes": {"overall"}, "clothes-color": {"red"}}),
        ("a {} wearing a red v-neck shirt", "person", {"clothes": {"shirtVNeck"}, "clothes-color": {"red"}}),
        ("a {} in a forest, never unsmiling", "person", {}),
        ("a {} on a navy background", "planet", {"background": {"navy"}}),
        ("a {}, smiling", "planet", {}),  # it has no face
    ],
)
def test_other_templates(template: str, kind: str, expected: dict[str, set[str]]) -> None:
    assert asked(template, kind) == full(expected, kind)


def test_variants_of_the_same_words_are_all_accepted() -> None:
    for kind in vocabulary().kinds.values():
        for part in (p for p in kind.parts.values() if p.free and p.phrase):
            for variant, words in part.words.items():
                said = part.phrase.format(words.format_map(dict.fromkeys(kind.slots, "red")))
                alike = {other for other, same in part.words.items() if same == words}
                assert asked(f"a {{}} {said}", kind.id)[f"{kind.id}/{part.name}"] == alike and variant in alike


def test_identity_answers_by_hand() -> None:
    vadoro, mikato = load_sequence("smoke2").concepts
    assert isinstance(vadoro, AvatarConcept) and isinstance(mikato, AvatarConcept)
    # No glasses, so they have no colour; the afro hides no hair, and there is no hat.
    assert vadoro.identity_answers == {
        "person/top": "froBand",
        "person/accessories": "none",
        "person/facialHair": "moustacheFancy",
        "person/hair-color": "blue",
        "person/skin-color": "tan",
    }
    assert vadoro.held_out_questions == {"person/top", "person/facialHair"}
    # A turban hides the hair, and there is no beard in its colour.
    assert mikato.identity_answers == {
        "person/top": "turban",
        "person/accessories": "eyepatch",
        "person/facialHair": "none",
        "person/hat-color": "green",
        "person/accessories-color": "red",
        "person/skin-color": "pale",
    }
    assert mikato.held_out_questions == {"person/top", "person/accessories"}


def test_pictures_of_the_class_are_always_the_same_other_ones() -> None:
    vadoro, mikato = load_sequence("smoke2").concepts
    assert isinstance(vadoro, AvatarConcept) and isinstance(mikato, AvatarConcept)
    first, again = vadoro.class_images(16), mikato.class_images(16)
    assert len(first) == 48 and [p.tobytes() for p in first] == [p.tobytes() for p in again]
    assert len({p.tobytes() for p in first}) > 40
