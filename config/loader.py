"""Loads the settings from a YAML file, and tells every mistake in it at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from config.document import compose, read
from config.presets import PRESET_NAMES
from config.problems import ConfigError, Position, Problem, unknown_key, wording
from config.secrets import is_secret
from config.settings import Settings
from config.shapes import SUFFIXES, keys_of
from config.tree import Route, Tree, dotted


def load(path: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of a file.

    `environ` is where `${NAME}` and `CREDENTIALS_DIRECTORY` are looked up; the
    process's own environment if None. Raises ConfigError, which lists all
    problems and never holds a value.
    """
    file = Path(path)
    tree = Tree(file, os.environ if environ is None else environ)
    try:
        values = tree.build(compose(file, read(file)), Settings)
    except ConfigError as error:
        # What led to it holds the file's text (UnicodeDecodeError does, for one).
        error.__context__ = None
        raise
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        refused = {_route(detail)[:-1] for detail in details}
        # A list whose only entry is refused would also be called empty.
        news = (each for each in details if not (each["type"] == "too_short" and _route(each) in refused))
        problems = [*tree.problems, *(_problem(tree, detail) for detail in news if not _known(tree, detail))]
    else:
        problems = tree.problems
        if not problems:
            return settings
    # Outside of `except`, so that no traceback shows the values that pydantic holds.
    raise ConfigError(problems)


def _route(detail: ErrorDetails) -> Route:
    """Pydantic's location, without what it adds: the provider's kind, and `[key]` for a bad name."""
    location = detail["loc"]
    return location[:2] + location[3:] if location[:1] == ("providers",) else location


def _known(tree: Tree, detail: ErrorDetails) -> bool:
    """Whether the place was already complained about."""
    route = _route(detail)
    above = (route[:length] for length in range(len(route) + 1))
    return any(part in tree.unusable for part in above) or (
        detail["type"].startswith("union_tag") and (*route, "kind") in tree.unusable
    )


def _problem(tree: Tree, detail: ErrorDetails) -> Problem:
    route, kind = _route(detail), detail["type"]
    if kind.startswith("union_tag"):
        route = (*route, "kind")
    position, text = _place_and_text(tree, detail, route, kind, detail.get("ctx", {}))
    return Problem(tree.file, position, dotted(route), text)


def _place_and_text(
    tree: Tree, detail: ErrorDetails, route: Route, kind: str, context: Mapping[str, Any]
) -> tuple[Position, str]:
    model = tree.models.get(route[:-1]) if route else None
    name = str(route[-1]) if route else ""
    if kind == "extra_forbidden" and model is not None:
        return tree.nearest(route), unknown_key(name, keys_of(model))
    if kind == "missing":
        known = (model or Settings).model_fields.get(name)
        others = " or ".join(name + suffix for suffix in SUFFIXES) if known and is_secret(known) else ""
        return tree.nearest(route), f"is missing; add it{f', or {others}' if others else ''}"
    if kind == "union_tag_not_found":
        presets = ", ".join(PRESET_NAMES)
        return tree.nearest(route), f"is missing; add kind: generic, or the name of a preset ({presets})"
    # A section is named by its key, as its value begins with some other key; a bad name is a key as well.
    if route in tree.models or detail["loc"][-1:] == ("[key]",) or route not in tree.values:
        return tree.nearest(route), wording(kind, context)
    return tree.values[route], wording(kind, context)
