"""What a method's label says: `cat[weight=0]` is a variant of `cat`, and stands beside it."""

from collections.abc import Iterable


def parent(label: str) -> str:
    """The method that a label is a variant of; itself for one without settings."""
    return label.partition("[")[0]


def settings(label: str) -> str:
    """In what a variant differs from its parent, `weight=0`; nothing for what is no variant."""
    return label.partition("[")[2].removesuffix("]")


def together(labels: Iterable[str]) -> tuple[str, ...]:
    """The same labels, each family where its first one stood; nothing else changes places."""
    labels = tuple(labels)
    first = {family: place for place, family in reversed(list(enumerate(map(parent, labels))))}
    return tuple(sorted(labels, key=lambda label: first[parent(label)]))
