"""From YAML nodes to plain values: references are followed, secrets fetched, positions remembered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from config.document import is_plain, position_of
from config.problems import Position, Problem
from config.secrets import SecretError, expand, is_secret, read_credential, read_secret_file
from config.shapes import Shape, bare, entry_of, is_path, is_section, model_of, secret_base

Route: TypeAlias = tuple[str | int, ...]
"""The keys and indexes that lead to a place."""


class Unusable:
    """Stands for a value that was already complained about; no type accepts it, so that no check runs on it."""


UNUSABLE: Final = Unusable()


@dataclass(slots=True)
class Tree:
    """Plain values, and what is needed to speak about them."""

    file: Path
    environ: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    keys: dict[Route, Position] = field(default_factory=dict)
    """Where the keys stand (a list's entries: where they begin)."""
    values: dict[Route, Position] = field(default_factory=dict)
    models: dict[Route, type[BaseModel]] = field(default_factory=dict)
    """The section that stands at a place."""
    unusable: set[Route] = field(default_factory=set)

    def build(self, node: yaml.Node | None, shape: Shape) -> Any:
        """Return the values of a whole document."""
        if node is None or node.tag == "tag:yaml.org,2002:null":
            return {}
        return self._value(node, (), shape)

    def nearest(self, route: Route) -> Position:
        """Where a place stands, else the nearest one above it."""
        for length in range(len(route), 0, -1):
            if position := self.keys.get(route[:length]):
                return position
        return Position(1, 1)

    def complain(self, position: Position, route: Route, text: str) -> Unusable:
        """Note a problem, and give what stands in the place of its value."""
        self.problems.append(Problem(self.file, position, dotted(route), text))
        self.unusable.add(route)
        return UNUSABLE

    def _value(self, node: yaml.Node, route: Route, shape: Shape) -> Any:
        self.values[route] = position_of(node)
        if not is_plain(node):
            return self.complain(
                position_of(node), route, "a tag (!) is not supported; put text that begins with ! in quotes"
            )
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, route, shape)
        if isinstance(node, yaml.SequenceNode):
            return self._sequence(node, route, shape)
        return self._scalar(node, route, shape)

    def _sequence(self, node: yaml.SequenceNode, route: Route, shape: Shape) -> list[Any]:
        values = []
        for index, child in enumerate(node.value):
            self.keys[*route, index] = position_of(child)
            values.append(self._value(child, (*route, index), entry_of(shape)))
        return values

    def _scalar(self, node: yaml.Node, route: Route, shape: Shape) -> Any:
        kind = node.tag.rpartition(":")[2]
        text = str(node.value)
        try:
            match kind:
                case "null":
                    return {} if is_section(shape) else None
                case "bool" if bare(shape) in {int, float}:
                    # To Python, true is 1.
                    return self.complain(position_of(node), route, "must be a number")
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "int":
                    return int(text)
                case "float":
                    return float(text)
                case "str":
                    return _clean(expand(text, self.environ))
        except SecretError as error:
            return self.complain(position_of(node), route, str(error))
        except (ValueError, KeyError):
            pass
        return self.complain(position_of(node), route, "the value does not fit its tag (!!); remove the tag")

    def _mapping(self, node: yaml.MappingNode, route: Route, shape: Shape) -> dict[str, Any]:
        entries = self._entries(node, route)
        kind = entries.get("kind")
        model = model_of(shape, str(kind.value) if isinstance(kind, yaml.ScalarNode) else None)
        if model is not None:
            self.models[route] = model
        values: dict[str, Any] = {}
        for key, child in entries.items():
            if split := secret_base(model, key):
                self._sibling(values, entries, child, route, key, *split)
            elif model is None:
                values[key] = self._value(child, (*route, key), entry_of(shape))
            else:
                values[key] = self._field(child, (*route, key), model.model_fields.get(key))
        return values

    def _entries(self, node: yaml.MappingNode, route: Route) -> dict[str, yaml.Node]:
        """The children by key; of a key that is there twice, the first."""
        entries: dict[str, yaml.Node] = {}
        for key_node, child in node.value:
            position = position_of(key_node)
            if not isinstance(key_node, yaml.ScalarNode) or not is_plain(key_node):
                self.complain(position, route, "a key must be plain text")
                continue
            key = str(key_node.value)
            if not key.isprintable():
                self.complain(position, route, "a key must be plain text")
                continue
            if key in entries:
                first = self.keys[*route, key].line
                text = f"the key is here twice, first at line {first}; remove one"
                self.problems.append(Problem(self.file, position, dotted((*route, key)), text))
                continue
            entries[key] = child
            self.keys[*route, key] = position
        return entries

    def _field(self, node: yaml.Node, route: Route, info: FieldInfo | None) -> Any:
        if info is None:
            # Unknown: the types will say so. What stands below does not matter, and may be anything.
            return None
        if is_secret(info) and not (isinstance(node, yaml.ScalarNode) and is_plain(node)):
            # Not looked into: its keys may be parts of a secret.
            return self.complain(position_of(node), route, "must be text; put it in quotes")
        value = self._value(node, route, info.annotation)
        if isinstance(value, str) and value:
            if is_path(info):
                return self._beside(value)
            if is_secret(info):
                return self._database(value)
        return value

    def _beside(self, path: str) -> Path:
        """Relative paths begin at the folder of the configuration file."""
        return self.file.absolute().parent / path

    def _database(self, url: str) -> str:
        """The same for a SQLite file; any other secret stays as it is."""
        name = url.removeprefix("sqlite:///")
        return url if name in {url, "", ":memory:"} else f"sqlite:///{self._beside(name)}"

    def _sibling(
        self,
        values: dict[str, Any],
        entries: Mapping[str, yaml.Node],
        node: yaml.Node,
        route: Route,
        key: str,
        base: str,
        suffix: str,
    ) -> None:
        """Fetch the secret `base` from where its sibling `key` points to."""
        here = (*route, key)
        siblings = [other for other in entries if other in {f"{base}_file", f"{base}_credential"}]
        if base in entries or len(siblings) > 1:
            if key == siblings[-1]:
                self.complain(self.keys[here], here, f"give only one of {base}, {base}_file and {base}_credential")
            values[base] = UNUSABLE
            self.unusable.add((*route, base))
            return
        # Problems of the secret itself are told where its sibling stands.
        self.keys[*route, base] = self.keys[here]
        name = self._value(node, here, None) if isinstance(node, yaml.ScalarNode) else None
        values[base] = self._fetch(name, base, suffix, position_of(node), here)
        self.values[*route, base] = position_of(node)
        if values[base] is UNUSABLE:
            self.unusable.add((*route, base))

    def _fetch(self, name: Any, base: str, suffix: str, position: Position, here: Route) -> str | Unusable:
        if isinstance(name, Unusable):
            return name
        if not isinstance(name, str) or not name:
            wanted = "the path of a file" if suffix == "_file" else "the name of a systemd credential"
            return self.complain(position, here, f"must be {wanted}, as text")
        try:
            if suffix == "_credential":
                return self._database(read_credential(name, self.environ))
            return self._database(read_secret_file(self._beside(name), private=base.endswith("master_key")))
        except SecretError as error:
            return self.complain(position, here, str(error))


def _clean(text: str) -> str:
    """Refuse what no file name, header or database takes: NUL and halves of characters."""
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise SecretError("holds a NUL or text that is not UTF-8; remove it")
    return text


def dotted(route: Route) -> str:
    """The route as people write it.

    >>> dotted(("mailbox_defaults", "folders", 0))
    'mailbox_defaults.folders[0]'
    """
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in route)
    return text.removeprefix(".")
