"""Training states on disk: named arrays and a few facts in one npz file, without pickle."""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from predictor.errors import ModelError

_FACTS = "facts.json"
_MODE = 0o644
"""A temporary file is its owner's alone; what is put in its place is for all to read."""
Arrays = dict[str, NDArray[Any]]


def save(path: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """Replaces `path` as a whole: a reader, or a stop halfway, sees the old file or the new."""
    content = io.BytesIO()
    named: dict[str, Any] = {_FACTS: np.array(json.dumps(facts)), **arrays}
    np.savez(content, **named)
    replace_file(path, content.getvalue())


def replace_text(path: Path, text: str) -> None:
    """Like `replace_file`, with text."""
    replace_file(path, text.encode("utf-8"))


def replace_file(path: Path, content: bytes) -> None:
    """Puts a whole file in place by rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(_MODE)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """What `save` wrote. Raises ModelError where the file is damaged."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        facts = json.loads(str(arrays.pop(_FACTS)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"cannot read checkpoint {path} ({error}); start with --fresh") from error
    return arrays, facts


def module_arrays(module: nn.Module, prefix: str) -> Arrays:
    """Weights and buffers, copied, each named `prefix/name`."""
    state = module.state_dict()
    return {f"{prefix}/{name}": tensor.numpy().copy() for name, tensor in state.items()}


def set_module(module: nn.Module, arrays: Mapping[str, NDArray[Any]], prefix: str) -> None:
    """Sets weights and buffers from what `module_arrays` gave."""
    start = f"{prefix}/"
    state = {
        name.removeprefix(start): torch.from_numpy(array.copy())
        for name, array in arrays.items()
        if name.startswith(start)
    }
    module.load_state_dict(state)


def optimizer_arrays(optimizer: torch.optim.Optimizer) -> Arrays:
    """The state of each parameter, named `optimizer/index/name`."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer/{index}/{name}": value.numpy().copy()
        for index, values in state.items()
        for name, value in values.items()
    }


def set_optimizer(optimizer: torch.optim.Optimizer, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Sets the state from what `optimizer_arrays` gave."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, array in arrays.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/")
            state.setdefault(int(index), {})[key] = torch.from_numpy(array.copy())
    whole = optimizer.state_dict()
    whole["state"] = state
    optimizer.load_state_dict(whole)
