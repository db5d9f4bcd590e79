"""The card of a model file: where it comes from, how good it is, and how to read its inputs.

The card lies next to the ONNX file, under the same name with `.json`. It binds the file by its
SHA-256, and names the version of the features that the file takes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from predictor.errors import ModelError
from predictor.features import FEATURE_VERSION, Vocabulary

CARD_VERSION = 1


@dataclass(frozen=True, slots=True)
class Card:
    """What a reader of the model file must know; `facts` is the whole of the card."""

    sha256: str
    vocabulary: Vocabulary
    facts: dict[str, Any]


def card_path(model: Path) -> Path:
    """The card of a model file."""
    return model.with_suffix(".json")


def card_text(content: bytes, vocabulary: Vocabulary, facts: dict[str, Any]) -> str:
    """The card of a model file of this content, with everything else that is to be said of it."""
    whole = {
        "card_version": CARD_VERSION,
        "feature_version": FEATURE_VERSION,
        "sha256": hashlib.sha256(content).hexdigest(),
        **facts,
        "vocabulary": list(vocabulary.texts),
    }
    return json.dumps(whole, indent=1) + "\n"


def read_card(model: Path, content: bytes) -> Card:
    """The card of a model file, checked against the file's content and this version.

    Raises ModelError where the card is missing, damaged, of another file or of another version.
    """
    path = card_path(model)
    try:
        facts = json.loads(path.read_text("utf-8"))
        versions = facts["card_version"], facts["feature_version"]
        card = Card(facts["sha256"], Vocabulary(tuple(facts["vocabulary"])), facts)
    except OSError as error:
        raise ModelError(f"cannot read the model's card {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is not a model's card; install or export it again") from error
    if versions != (CARD_VERSION, FEATURE_VERSION):
        raise ModelError(
            f"{path} has card and feature versions {versions}, this program reads "
            f"{(CARD_VERSION, FEATURE_VERSION)}; train the model again with `python -m predictor train`"
        )
    if card.sha256 != hashlib.sha256(content).hexdigest():
        raise ModelError(f"{model} is not the file that its card describes; install it again")
    return card
