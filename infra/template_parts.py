"""The template's parts: YAML files in ``infra/template`` with CloudFormation's short tags, merged into one document.

Two tags of our own keep code out of YAML: ``!TextFile path`` is the text of a file, ``!JsonFile path`` a JSON file as
compact text. Paths are relative to the part.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped, unused-ignore]  # its stubs are optional

PARTS = Path(__file__).parent / "template"


class TemplateError(Exception):
    """The parts do not fit together; the message names the part."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc, unused-ignore]
    folder: Path = PARTS


def _text_file(loader: _Loader, node: yaml.Node) -> str:
    return (loader.folder / _scalar(loader, node)).read_text("utf-8")


def _json_file(loader: _Loader, node: yaml.Node) -> str:
    document = json.loads((loader.folder / _scalar(loader, node)).read_text("utf-8"))
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def _scalar(loader: _Loader, node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise TemplateError(f"{node.tag} takes one path{node.start_mark}")
    return str(loader.construct_scalar(node))


def _intrinsic(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    """``!Ref x`` is {"Ref": x}, ``!Sub x`` is {"Fn::Sub": x}; nested ones are resolved, whatever their depth."""
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)  # noqa: S101 - YAML knows no fourth kind
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


_Loader.add_constructor("!TextFile", _text_file)
_Loader.add_constructor("!JsonFile", _json_file)
_Loader.add_multi_constructor("!", _intrinsic)


def load_part(path: Path) -> dict[str, Any]:
    """One part as a document of plain data. Raises TemplateError, OSError."""

    class Loader(_Loader):
        folder = path.parent

    try:
        document = yaml.load(path.read_text("utf-8"), Loader=Loader)  # noqa: S506 - a SafeLoader with our own tags
    except yaml.YAMLError as error:
        raise TemplateError(f"{path.name}: {error}") from error
    if not isinstance(document, dict):
        raise TemplateError(f"{path.name} is not a mapping")
    return document


def load_template(folder: Path = PARTS) -> dict[str, Any]:
    """All parts merged by section. Two parts that define the same name raise TemplateError."""
    merged: dict[str, Any] = {}
    for path in sorted(folder.glob("*.yaml")):
        for section, content in load_part(path).items():
            target = merged.setdefault(section, {})
            twice = set(target) & set(content)
            if twice:
                raise TemplateError(f"{path.name} defines {', '.join(sorted(twice))} of {section} a second time")
            target.update(content)
    return merged
