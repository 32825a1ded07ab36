"""Sequences of photos: the ones that ship, ones of one's own, and every layout that new-sequence reads."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from photo_samples import good, picture

from cat_bench.tasks.entries import PhotoEntry, concept_ids, read_entry, sequence_names
from cat_bench.tasks.errors import TaskError
from cat_bench.tasks.photos.captions import whole
from cat_bench.tasks.photos.concept import PhotoConcept
from cat_bench.tasks.photos.new_sequence import write_sequence
from cat_bench.tasks.photos.photo_set import concept_id, survey
from cat_bench.tasks.sequence import Sequence, load_sequence

SHIPPED = [name for name in sequence_names() if read_entry(name)[0].photos]


def make_data(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        good(root / name, first=100 * number)
    return root


def check(sequence: Sequence) -> None:
    """What every sequence of photos must be like."""
    triggers = [concept.trigger for concept in sequence.concepts]
    assert len({*triggers}) == len(triggers)
    assert set(sequence.preservation) == {"class", "other", "unknown", "named"}
    assert sum(map(len, sequence.preservation.values())) >= 24
    nouns = {concept.noun for concept in sequence.concepts}

    def has(prompt: str, words: list[str]) -> bool:
        return any(re.search(whole(word), prompt, re.IGNORECASE) for word in words)

    for stratum, prompts in sequence.preservation.items():
        assert len({*prompts}) == len(prompts)
        for prompt in prompts:
            assert not has(prompt, triggers), f"{prompt!r} has a trained trigger"
            assert has(prompt, [*nouns]) == (stratum in ("class", "unknown")) or stratum == "class", prompt
    for concept in sequence.concepts:
        assert isinstance(concept, PhotoConcept)
        assert len(concept.prompts) >= 5 and len({*concept.prompts}) == len(concept.prompts)
        assert len(concept.train_captions) == len(concept.train_images(32)) == len(concept.train)
        assert all(image.size == (32, 32) for image in concept.reference_images(32))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_sequence_needs_nothing_but_the_photos(name, tmp_path):
    entry, _ = read_entry(name)
    folders = [concept.folder for concept in entry.concept if isinstance(concept, PhotoEntry)]
    assert len(folders) == 10 and concept_ids(name) == tuple(folders)
    with pytest.raises(TaskError, match=rf"made of photos .* --data FOLDER, .*{folders[0]} and 9 more"):
        load_sequence(name)
    with pytest.raises(TaskError, match=f"{tmp_path / 'none'}: there is no such folder"):
        load_sequence(name, tmp_path / "none")
    with pytest.raises(TaskError, match=f"{tmp_path / folders[0]}: this folder is not there"):
        load_sequence(name, tmp_path)
    sequence = load_sequence(name, make_data(tmp_path / "data", *folders))
    check(sequence)
    sequence.check()
    assert entry.title and entry.license and "arXiv" in entry.citation


def test_dreambooth10_is_the_papers():
    entry, _ = read_entry("dreambooth10")
    concepts = [concept for concept in entry.concept if isinstance(concept, PhotoEntry)]
    assert [c.trigger for c in concepts] == ["sks", "zwz", "sbu", "uwu", "pdw", "twt", "zsn", "ofl", "psq", "cws"]
    assert len({c.noun for c in concepts}) == 10
    assert all(c.caption == "a photo of {}" for c in concepts)
    assert len(entry.prompts["all"]) == 5


def test_a_sequence_of_the_avatar_world_takes_no_photos(tmp_path):
    with pytest.raises(TaskError, match="faces5 draws its own pictures: leave --data out"):
        load_sequence("faces5", tmp_path)


MINE = """
id = "mine"
version = "1"
title = "Mine"
license = "mine"
citation = "me"
[prompts]
all = ["a {} on ice"]
cat = ["a {} asleep"]
second = ["a {} at sea"]
[[concept]]
id = "first"
folder = "one"
noun = "cat"
trigger = "sks"
[[concept]]
id = "second"
folder = "two"
noun = "cat"
trigger = "zwz"
references = 1
[[concept]]
id = "third"
folder = "three"
noun = "dog"
trigger = "sbu"
"""


def test_photos_lie_beside_the_toml_or_where_data_says(tmp_path):
    make_data(tmp_path / "here", "one", "two", "three")
    path = tmp_path / "here" / "mine.toml"
    path.write_text(MINE, "utf-8")
    sequence = load_sequence(path)
    assert [c.prompts for c in sequence.concepts] == [("a {} asleep",), ("a {} at sea",), ("a {} on ice",)]
    assert [len(c.reference_images(32)) for c in sequence.concepts] == [2, 1, 2]
    path = path.rename(tmp_path / "mine.toml")
    with pytest.raises(TaskError, match="say where the photos are with --data FOLDER"):
        load_sequence(path)
    assert load_sequence(path, tmp_path / "here").fingerprint == sequence.fingerprint
    path.write_text('data = "here"\n' + MINE, "utf-8")
    assert load_sequence(path).fingerprint == sequence.fingerprint
    extended = tmp_path / "more.toml"
    good(tmp_path / "here" / "four", first=900)
    extended.write_text(
        f'data = "here"\nextends = {json.dumps(str(path))}\n{MINE[: MINE.index("[prompts]")]}'
        '[[concept]]\nid = "fourth"\nfolder = "four"\nnoun = "cat"\ntrigger = "uwu"\n',
        "utf-8",
    )
    longer = load_sequence(extended)
    extended.write_text(extended.read_text("utf-8").replace(json.dumps(str(path)), f'"{path.name}"'), "utf-8")
    assert load_sequence(extended) == longer, "seen from the TOML, as `data` is"
    assert [c.fingerprint for c in longer.concepts[:3]] == [c.fingerprint for c in sequence.concepts]
    assert longer.concepts[3].prompts == ("a {} asleep",)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('trigger = "sks"', "", "key concept.0.trigger: Field required"),
        ('trigger = "sks"', 'trigger = "two words"', "key concept.0.trigger"),
        ('noun = "cat"', "", "key concept.0.noun: Field required"),
        ('noun = "cat"', 'nown = "cat"', "key concept.0.nown: there is no such key; did you mean 'noun'?"),
        ('folder = "one"', 'foldr = "one"', "key concept.0.foldr: there is no such key; did you mean 'folder'?"),
        ('id = "first"', 'id = "seed"', "'seed' cannot be a concept's id"),
        ("references = 1", "references = 0", "key concept.1.references"),
        ('id = "first"', 'id = "a/b"', "'a/b' cannot be a concept's id"),
        ('id = "first"', 'id = "preservation"', "'preservation' cannot be a concept's id"),
        ('id = "first"', 'id = "Second"', "two concepts with id 'second'"),
        ('trigger = "sks"', 'trigger = "ZWZ"', "two concepts with trigger 'zwz'"),
        ('all = ["a {} on ice"]', "", "[prompts] needs a list for 'dog', 'third' or all"),
        ('all = ["a {} on ice"]', 'all = ["on ice"]', "each with a {}"),
        ('folder = "one"', 'folder = "../out"', "out: this folder is not there"),
        ('folder = "one"', 'folder = "mine.toml"', "mine.toml: is not a folder"),
        ('folder = "one"', 'folder = "linked"', "linked: is a link that leads out of"),
        ('id = "mine"', 'id = "mine"\nextends = "mine.toml"', "extends itself"),
        ('id = "mine"', 'id = "mine"\nextends = "../here/mine.toml"', "extends itself"),
        ('noun = "cat"', 'kind = "person"\nnoun = "cat"', "key concept.0.kind: there is no such key"),
    ],
)
def test_mistakes_are_named(old, new, says, tmp_path, monkeypatch):
    monkeypatch.chdir(make_data(tmp_path / "here", "one", "two", "three"))
    good(tmp_path / "elsewhere", first=800)
    Path("linked").symlink_to(tmp_path / "elsewhere")
    Path("mine.toml").write_text(MINE.replace(old, new, 1), "utf-8")
    with pytest.raises(TaskError) as error:
        load_sequence("mine.toml")
    assert says in str(error.value) and "\n" not in str(error.value)


def test_two_folders_of_one_name(tmp_path):
    make_data(tmp_path, "Red Car", "red_car", "café")
    (finding,) = survey(tmp_path).errors
    assert finding.line.startswith(f"{tmp_path / 'red_car'}: has the same name as Red Car")
    assert concept_id(tmp_path / "cafe\u0301 ") == "café"
    with pytest.raises(TaskError, match="has the same name as Red Car"):
        write_sequence(tmp_path, tmp_path / "x.toml")
    assert not (tmp_path / "x.toml").exists()


def test_an_image_beside_the_folders_is_a_stray(tmp_path):
    make_data(tmp_path, "one", "two")
    picture(99).save(tmp_path / "overview.png")
    found = survey(tmp_path)
    assert not found.single and not found.errors
    assert found.findings[-1].line == f"{tmp_path}: beside the concepts' folders: overview.png; ignored"


def test_a_photo_in_two_concepts_is_noted(tmp_path):
    make_data(tmp_path, "one", "two")
    (tmp_path / "two" / "09.png").write_bytes((tmp_path / "one" / "00.png").read_bytes())
    found = survey(tmp_path)
    assert not found.errors and "is the same file as" in found.findings[-1].line


def test_new_sequence_from_bare_folders(tmp_path, monkeypatch):
    data = make_data(tmp_path / "my photos", "my_dog2", "Red Car", "собака", "03", "2024-umbrella")
    (data / "__MACOSX").mkdir()
    (data / "prices.csv").write_text("a,b")
    monkeypatch.chdir(tmp_path)
    path = write_sequence(Path("my photos"))
    assert path == Path("my_photos.toml")
    sequence = load_sequence(path)
    check(sequence)
    assert [(c.id, c.noun) for c in sequence.concepts] == [
        ("03", "object"),
        ("2024-umbrella", "umbrella"),
        ("my_dog2", "dog"),
        ("Red_Car", "red car"),
        ("собака", "собака"),
    ]
    text = path.read_text("utf-8")
    assert text.count("guessed from the folder's name: please check") == 5
    assert 'data = "my photos"' in text
    by_id = {c.id: c for c in sequence.concepts}
    assert "a {} wearing a red hat" in by_id["my_dog2"].prompts
    assert "a {} wearing a red hat" not in by_id["Red_Car"].prompts
    assert not any("umbrella" in p or "red car" in p for p in sequence.preservation["other"])
    assert "a photo of an umbrella" in sequence.preservation["class"]
    with pytest.raises(TaskError, match=r"my_photos\.toml is there already, and is left as it is"):
        write_sequence(Path("my photos"))
    assert path.read_text("utf-8") == text


DREAMBOOTH = """Classes

subject_name,class
dog2,dog
toy_bear,stuffed animal
absent,vase

Prompts

Object Prompts

prompt_list = [
'a {0} {1} in the jungle'.format(unique_token, class_token),
'a cube shaped {0} {1}'.format(unique_token, class_token),
"a {0} {1} on top of a child's rug".format(unique_token, class_token)
]

Live Subject Prompts

prompt_list = [
'a {0} {1} wearing a red hat'.format(unique_token, class_token),
'a purple {0} {1}'.format(unique_token, class_token)
]
"""


def test_new_sequence_from_dreambooths_layout(tmp_path):
    data = make_data(tmp_path / "dataset", "dog2", "toy_bear", "unlisted_cat")
    (data / "prompts_and_classes.txt").write_text(DREAMBOOTH, "utf-8")
    (data / "references_and_licenses.txt").write_text("…", "utf-8")
    sequence = load_sequence(write_sequence(data, tmp_path / "db.toml", "db"))
    assert [(c.id, c.noun, c.trigger) for c in sequence.concepts] == [
        ("dog2", "dog", "sks"),
        ("toy_bear", "stuffed animal", "zwz"),
        ("unlisted_cat", "unlisted cat", "sbu"),
    ]
    live = ("a {} wearing a red hat", "a purple {}")
    assert sequence.concepts[0].prompts == sequence.concepts[2].prompts == live
    assert sequence.concepts[1].prompts[1:] == ("a cube shaped {}", "a {} on top of a child's rug")
    (data / "prompts_and_classes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(TaskError, match=r"prompts_and_classes\.txt: is not UTF-8 text"):
        write_sequence(data, tmp_path / "again.toml", "again")


def test_new_sequence_from_custom_diffusions_list(tmp_path):
    data = make_data(tmp_path / "concepts", "cat", "wooden_pot", "samples_cat")
    rows = [
        {"instance_prompt": "photo of a <new1> cat", "class_prompt": "cat", "instance_data_dir": "./data/cat"},
        {
            "instance_prompt": "a picture of ktn wooden pot, indoors",
            "class_prompt": "a photo of a wooden pot",
            "instance_data_dir": str(data / "wooden_pot"),
            "class_data_dir": "samples_cat",
        },
    ]
    (data / "concept_list.json").write_text(json.dumps(rows), "utf-8")
    path = write_sequence(data, tmp_path / "cd.toml")
    sequence = load_sequence(path)
    check(sequence)
    assert [(c.id, c.noun, c.trigger) for c in sequence.concepts] == [
        ("cat", "cat", "sks"),
        ("wooden_pot", "wooden pot", "ktn"),
    ]
    assert [c.train_captions[0] for c in sequence.concepts] == ["photo of a {}", "a picture of {}, indoors"]
    assert sequence.concepts[0].fill("photo of a {}", "trigger") == "photo of a sks cat"
    for broken, says in [
        ("[", "is not valid JSON"),
        ("{}", "must be a list of concepts"),
        ('[{"class_prompt": "cat"}]', "concept 1 needs instance_data_dir and class_prompt"),
        ('[{"class_prompt": "cat", "instance_data_dir": "gone"}]', "concept 1: the folder gone is neither there nor"),
    ]:
        (data / "concept_list.json").write_text(broken, "utf-8")
        with pytest.raises(TaskError, match=says) as error:
            write_sequence(data, tmp_path / "again.toml")
        assert str(data / "concept_list.json") in str(error.value)
    assert not (tmp_path / "again.toml").exists()


def test_new_sequence_from_text_captions_and_an_imagefolder(tmp_path):
    data = make_data(tmp_path / "photos", "dog", "cat")
    (data / "dog" / "00.txt").write_text("a dog in the zwz mountains", "utf-8")
    (data / "cat" / "metadata.jsonl").write_text('{"file_name": "01.png", "text": "the cat asleep"}\n', "utf-8")
    cat, dog = load_sequence(write_sequence(data, tmp_path / "both.toml")).concepts
    assert dog.train_captions == ("a {} in the zwz mountains", "a photo of {}")
    assert cat.train_captions == ("a photo of {}", "the {} asleep")
    assert (cat.trigger, dog.trigger) == ("sks", "sbu")  # zwz is a word of a caption


def test_new_sequence_of_one_folder_and_of_many(tmp_path):
    (concept,) = load_sequence(write_sequence(good(tmp_path / "cat"), tmp_path / "one.toml")).concepts
    assert (concept.id, concept.noun) == ("cat", "cat")
    data = make_data(tmp_path / "many", *(f"dog{n}" for n in range(40)))
    sequence = load_sequence(write_sequence(data, tmp_path / "many.toml"))
    check(sequence)
    assert len(sequence.concepts) == 40


def test_new_sequence_refuses(tmp_path):
    data = make_data(tmp_path / "photos", "dog")
    for options, says in [
        ({"id": "a/b"}, "--id 'a/b': use letters"),
        ({"id": "faces5"}, "the name of a sequence that ships"),
        ({"out": tmp_path / "x.json"}, "a sequence is a .toml file"),
        ({"out": tmp_path / "none" / "x.toml"}, "cannot be written"),
    ]:
        with pytest.raises(TaskError, match=re.escape(says)):
            write_sequence(data, **options)
    picture(1, 20, 20).save(data / "dog" / "tiny.png")
    with pytest.raises(TaskError, match="too small"):
        write_sequence(data, tmp_path / "x.toml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_names_of_any_kind_survive_the_toml(tmp_path):
    data = make_data(tmp_path / 'a "quoted" name', 'the "best" dog', "back\\slash", "x # y")
    path = write_sequence(data, tmp_path / "odd.toml", "odd")
    tomllib.loads(path.read_text("utf-8"))
    assert len(load_sequence(path).concepts) == 3
