"""What may stand at a place of the configuration, as the settings' types tell it."""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from config.secrets import is_secret

SUFFIXES: Final = ("_file", "_credential")
"""A secret field `x` can be given as `x`, `x_file` or `x_credential`."""

Shape: TypeAlias = Any
"""A type annotation, or None where nothing is known."""


def _origin(shape: Shape) -> Any:
    return get_origin(shape)


def bare(shape: Shape) -> Shape:
    """Take off Annotated and `| None`."""
    while _origin(shape) is Annotated:
        shape = get_args(shape)[0]
    if _origin(shape) in {Union, UnionType}:
        members = [part for part in get_args(shape) if part is not type(None)]
        if len(members) == 1:
            return bare(members[0])
    return shape


def model_of(shape: Shape, kind: str | None) -> type[BaseModel] | None:
    """The section that a shape stands for; `kind` chooses among several. None if it is no (known) section."""
    shape = bare(shape)
    if _origin(shape) in {Union, UnionType}:
        models = [part for part in get_args(shape) if isinstance(part, type) and issubclass(part, BaseModel)]
        return next((model for model in models if kind in get_args(model.model_fields["kind"].annotation)), None)
    return shape if isinstance(shape, type) and issubclass(shape, BaseModel) else None


def entry_of(shape: Shape) -> Shape:
    """The shape of a mapping's or list's entries, None if it is neither."""
    shape = bare(shape)
    if _origin(shape) is dict:
        return get_args(shape)[1]
    return get_args(shape)[0] if _origin(shape) is tuple else None


def is_section(shape: Shape) -> bool:
    """Whether keys stand below it, so that an empty one means all defaults."""
    shape = bare(shape)
    return _origin(shape) in {dict, Union, UnionType} or model_of(shape, None) is not None


def is_path(field: FieldInfo) -> bool:
    """Whether a field holds a path."""
    return bare(field.annotation) is Path


def secret_base(model: type[BaseModel] | None, key: str) -> tuple[str, str] | None:
    """Split `x_file` or `x_credential` of a secret field x into x and the suffix; None for other keys."""
    for suffix in SUFFIXES:
        base = key.removesuffix(suffix)
        if model is not None and base != key and base in model.model_fields and is_secret(model.model_fields[base]):
            return base, suffix
    return None


def keys_of(model: type[BaseModel]) -> list[str]:
    """Every key that a section takes."""
    siblings = [name + suffix for name, field in model.model_fields.items() if is_secret(field) for suffix in SUFFIXES]
    return [*model.model_fields, *siblings]
