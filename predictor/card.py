"""The card of a model file: where it comes from, how good it is, and how to read its inputs.

The card lies next to the file, under the same name with `.json`. It binds the file by its SHA-256, and
names the versions of the form of the file and of the features that it takes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from predictor.errors import ModelError

CARD_VERSION = 1


def card_path(model: Path) -> Path:
    """The card of a model file."""
    return model.with_suffix(".json")


def card_text(content: bytes, versions: Mapping[str, int], facts: Mapping[str, Any]) -> str:
    """The card of a model file of this content, with everything else that is to be said of it."""
    whole = {
        "card_version": CARD_VERSION,
        **versions,
        "sha256": hashlib.sha256(content).hexdigest(),
        **facts,
    }
    return json.dumps(whole, indent=1) + "\n"


def read_card(
    model: Path, content: bytes, versions: Mapping[str, int], remedy: str
) -> dict[str, Any]:
    """The card of a model file, checked against the file's content and these versions.

    Raises ModelError where the card is missing, damaged, of another file or of another version; the
    last says `remedy`.
    """
    path = card_path(model)
    expected = {"card_version": CARD_VERSION, **versions}
    try:
        facts: dict[str, Any] = json.loads(path.read_text("utf-8"))
        found = {name: facts[name] for name in expected}
        digest = facts["sha256"]
    except OSError as error:
        raise ModelError(f"cannot read the model's card {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is not a model's card; install or export it again") from error
    if found != expected:
        raise ModelError(
            f"{path} has versions {_shown(found)}, this program reads {_shown(expected)}; {remedy}"
        )
    if digest != hashlib.sha256(content).hexdigest():
        raise ModelError(f"{model} is not the file that its card describes; install it again")
    return facts


def _shown(versions: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())
