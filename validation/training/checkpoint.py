"""Checkpoints: one file, replaced in one step, so that a kill at any moment leaves the former state or the new one."""

import os
from pathlib import Path
from typing import Any

import torch


def save(path: Path, state: dict[str, Any]) -> None:
    """Replace the file by this state: tensors, numbers, text, and lists and dicts of them."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())  # otherwise the name may reach the disk before the content does
    os.replace(temporary, path)


def load(path: Path, keys: frozenset[str]) -> dict[str, Any] | None:
    """Return the state in the file, on the CPU, or None where there is no file; nothing in it is executed.

    Args:
        path: the file.
        keys: what the state must hold, exactly.

    Raises:
        ValueError: when the file is not a whole checkpoint with these keys.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails wherever the damage is: zip, pickle, storage, decoding
        raise damaged(path, type(error).__name__) from error
    if not isinstance(state, dict) or state.keys() != keys:
        raise damaged(path, "other content")
    return state


def moved(value: Any, device: torch.device) -> Any:
    """Return a state with its tensors on a device."""
    if isinstance(value, dict):
        return {name: moved(item, device) for name, item in value.items()}
    if isinstance(value, list):
        return [moved(item, device) for item in value]
    return value.to(device) if isinstance(value, torch.Tensor) else value


def damaged(path: Path, what: str) -> ValueError:
    """Return the error that says so."""
    return ValueError(f"checkpoint must be a file that s2sam train wrote, got {what} in {path}; remove it")
