"""What a caption that says everything names: question by question, the answers that keep its word."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cat_bench.benchmark.pretrain.pictures.facts import COLOR, facts
from cat_bench.tasks.avatars.drawing import Picture
from cat_bench.tasks.avatars.vocabulary import vocabulary


def named(picture: Picture) -> Mapping[str, frozenset[str]]:
    """Questions of the part reader that a full caption answers → all answers called by the same words."""
    kind = vocabulary().kind(picture.look.kind)
    true = facts(picture)
    found = {"class": frozenset({kind.id}), "background": frozenset({picture.scene.background})}
    colors: set[str] = {slot for slot, entry in kind.slots.items() if entry.phrase is not None}
    for name, variant in {**picture.look.parts, **picture.scene.parts}.items():
        part = kind.parts[name]
        if part.phrase is None or variant is None:
            continue
        words = part.words[variant]
        found[f"{kind.id}/{name}"] = frozenset(v for v, same in part.words.items() if same == words)
        colors |= set(re.findall(r"\{(\w+)\}", words))
    if picture.scene.expression is not None:
        found[f"{kind.id}/expression"] = frozenset({picture.scene.expression})
    found |= {f"{kind.id}/{slot}{COLOR}": frozenset({true.get(f"{kind.id}/{slot}{COLOR}", "")}) for slot in colors}
    return {question: answers for question, answers in found.items() if question in true}
