"""The geometry that the metric model is trained to: which cosine two pictures should have, from what is known of them.

Two pictures of one class are the more alike the more parts and colours of the identity they share, a little more for a
shared scene, and damage takes away its share of all that. Every picture is given a unit vector of facts; the wanted
cosine is the product of two of them, so all wanted cosines are possible at once.
"""

from __future__ import annotations

import torch

from cat_bench.tasks.avatars.questions import heads
from cat_bench.tasks.avatars.vocabulary import vocabulary

CLASS, IDENTITY, SCENE = 0.15, 0.70, 0.15  # shares of the squared length: the ceiling is 0.85 and a little
DEPTH = 0.60  # of a cosine lost, by what makes a picture as unlike as somebody else's of the class


class Geometry:
    """Vectors of facts for pictures whose answers are known."""

    def __init__(self, damages: int) -> None:
        known, kinds = heads(), list(vocabulary().kinds)
        sizes = torch.tensor([len(h.answers) + 1 for h in known])  # the first: not to be seen
        self.first = sizes.cumsum(0) - sizes
        self.width = int(sizes.sum()) + damages
        self.damages = damages
        self.weights = torch.zeros(len(kinds), len(known))
        for row, kind in enumerate(kinds):
            own = [h.kind == kind for h in known]
            identity = [o and h.about == "identity" for o, h in zip(own, known, strict=True)]
            scene = [(o and h.about == "scene") or h.name == "background" for o, h in zip(own, known, strict=True)]
            self.weights[row, 0] = CLASS
            self.weights[row, torch.tensor(identity)] = IDENTITY / sum(identity)
            self.weights[row, torch.tensor(scene)] = SCENE / sum(scene)

    def vectors(self, answers: torch.Tensor, lost: torch.Tensor, damage: torch.Tensor) -> torch.Tensor:
        """Unit vectors (n, width) of pictures.

        answers (n, heads): numbers of answers, −1 where there is none, column 0 the class; lost (n,): shares of
        likeness lost; damage (n,): numbers of the kinds of damage.
        """
        values = self.weights[answers[:, 0]].sqrt()
        kept = 1 - DEPTH * lost
        found = torch.zeros(len(answers), self.width)
        found.scatter_(1, self.first + answers + 1, values * kept[:, None])
        found.scatter_(1, self.width - self.damages + damage[:, None], (1 - kept**2).sqrt()[:, None])
        return found
