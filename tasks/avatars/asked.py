"""What an evaluation prompt asks of the scene, read back from its words: expression, clothes, background.

The inverse of `drawing.scene_phrases`, as far as a picture can answer for it. Words that the vocabulary does not know
ask for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache

from cat_bench.tasks.avatars.drawing import background_phrase, with_articles
from cat_bench.tasks.avatars.questions import COLOR
from cat_bench.tasks.avatars.vocabulary import Kind, Part, vocabulary

Wanted = Mapping[str, frozenset[str]]  # question → every answer that the words allow


def asked(template: str, kind_id: str) -> Wanted:
    """Of a prompt's template for a concept of this kind; empty where it asks for nothing ("a {}").

    Variants that are called by the same words are all accepted.
    """
    phrases = _phrases(kind_id)
    words = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, phrases))})(?![\w-])")
    found: dict[str, frozenset[str]] = {}
    for match in words.finditer(with_articles(template)):
        found.update(phrases[match[0]])
    return found


@cache
def _phrases(kind_id: str) -> Mapping[str, Wanted]:
    """All that a prompt can say of a scene of this kind, the longest first, and what it asks for."""
    kind = vocabulary().kind(kind_id)
    found: dict[str, Wanted] = {}
    for words in kind.expressions:
        found[words] = {f"{kind_id}/expression": frozenset({words})}
    for part in kind.parts.values():
        if part.free and part.phrase is not None:
            found |= _of_part(kind, part)
    for color in vocabulary().backgrounds:
        found[with_articles(background_phrase(color))] = {"background": frozenset({color})}
    return dict(sorted(found.items(), key=lambda entry: -len(entry[0])))


def _of_part(kind: Kind, part: Part) -> Iterator[tuple[str, Wanted]]:
    """Every way to ask for a part, with a colour or without one."""
    assert part.phrase is not None
    for words in dict.fromkeys(part.words.values()):
        alike = {f"{kind.id}/{part.name}": frozenset(v for v, same in part.words.items() if same == words)}
        slots = re.findall(r"\{(\w+)\}", words)
        plain = re.sub(r"\{\w+\} ?", "", words)
        yield with_articles(part.phrase.format(plain)), alike
        for slot in slots:
            for color in kind.slots[slot].palette:
                said = part.phrase.format(re.sub(rf"\{{{slot}\}}", color, words))
                yield with_articles(said), {**alike, f"{kind.id}/{slot}{COLOR}": frozenset({color})}
