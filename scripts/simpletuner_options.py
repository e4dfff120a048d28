"""Writes ``chalicelib/domain/simpletuner_options.json`` from a wheel of SimpleTuner.

    pip download --no-deps --only-binary=:all: --python-version 3.12 simpletuner==4.10.1
    python scripts/simpletuner_options.py simpletuner-4.10.1-py3-none-any.whl

SimpleTuner is under AGPL-3.0-or-later. What is taken are facts only: the names of its options with their types, choices
and limits, the names of the settings of a dataset, the families and flavours of models with their names on the Hub, and
the precision that an optimizer needs. None of its texts and none of its code is kept.

Its registry of options is run with empty stand-ins for everything it imports beside itself (torch and the like), so
that neither a GPU nor 5 GB of packages are needed; the lists that stand in code which can't run so are read from the
syntax tree.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.abc
import importlib.machinery
import json
import sys
import tempfile
import types
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "chalicelib" / "domain" / "simpletuner_options.json"
REGISTRY = "simpletuner.simpletuner_sdk.server.services.field_registry"
#: What is run; everything else that the registry imports becomes a stand-in.
_REAL = (
    REGISTRY,
    "simpletuner.helpers.models.registry",
    "simpletuner.helpers.models.prediction",
    "simpletuner.helpers.models.field_registry",
)
#: Packages on the way to those: folders without code.
_FOLDERS = (
    "simpletuner",
    "simpletuner.helpers",
    "simpletuner.helpers.models",
    "simpletuner.simpletuner_sdk",
    "simpletuner.simpletuner_sdk.server",
    "simpletuner.simpletuner_sdk.server.services",
)
#: Names that SimpleTuner takes beside its options and translates, or leaves out (``configuration/cli_utils.py``).
_HANDLER = "_legacy_handler"
#: Where the entries of a dataloader are read, and what an entry is called there; and what it is called elsewhere.
_ENTRY_READERS = ("data_backend/factory.py", "data_backend/config", "data_backend/builders")
_ENTRY_NAMES = frozenset({"backend", "backend_dict"})
_ENTRY_NAMES_ELSEWHERE = frozenset({"data_backend_config", "backend_config"})
#: How the names of those settings begin that one type alone reads.
_TYPE_PREFIXES = {"aws": "aws", "csv": "csv", "memory": "memory_", "webshart": "webshart"}
#: ``run_trainer_job`` takes these out before the options are read.
_OF_THE_RUNNER = ("__job_id__", "job_id", "accelerate_config", "accelerate_extra_args", "accelerate_visible_devices")


class _Anything(types.ModuleType):
    """Stands in for a module or whatever is taken from one."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name)

    def __call__(self, *_: Any, **__: Any) -> Any:
        return _Anything("result")

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, root: Path, ready: dict[str, dict[str, Any]]) -> None:
        self._root, self._ready = root, ready

    def find_spec(self, fullname: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith("simpletuner") or fullname.startswith(_REAL):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = types.ModuleType(spec.name) if spec.name in _FOLDERS else _Anything(spec.name)
        module.__path__ = [str(self._root.joinpath(*spec.name.split(".")))]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        module.__dict__.update(self._ready.get(module.__name__, {}))


def read(wheel: Path) -> dict[str, Any]:
    """The facts in the wheel."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(root)
        optimizers = _optimizers(root)
        precisions = _constant(_tree(root, "helpers/training/__init__.py"), "quantised_precision_levels")
        ready = {
            "simpletuner.helpers.training": {"quantised_precision_levels": precisions},
            "simpletuner.helpers.training.optimizer_param": {
                "available_optimizer_keys": lambda *_, **__: sorted(optimizers)
            },
            "simpletuner.helpers.image_manipulation.nsfw_classifier": {"DEFAULT_NSFW_CHECK_MODELS_CSV": ""},
        }
        sys.path.insert(0, str(root))
        sys.meta_path.insert(0, _Finder(root, ready))
        registry = importlib.import_module(f"{REGISTRY}.registry").field_registry
        options, ignored = _options(registry)
        return {
            "source": f"https://pypi.org/project/simpletuner/{_version(root)}/",
            "version": _version(root),
            "about": "Names, types, choices, limits of SimpleTuner's options; made by scripts/simpletuner_options.py",
            "options": options,
            "ignored": sorted({*ignored, *_legacy(root), *_OF_THE_RUNNER} - set(options)),
            "entries": _entries(root),
            "families": _families(root),
            "optimizers": dict(sorted(optimizers.items())),
        }


def _options(registry: Any) -> tuple[dict[str, dict[str, Any]], set[str]]:
    options: dict[str, dict[str, Any]] = {}
    ignored: set[str] = set()
    for field in registry._fields.values():
        if not field.arg_name or not str(field.arg_name).startswith("--") or field.default_value == "==SUPPRESS==":
            ignored.add(field.name)
            continue
        found = _option(field)
        for name in (field.arg_name, *(field.aliases or ())):
            options.setdefault(name.lstrip("-").replace("-", "_"), found)
    return dict(sorted(options.items())), ignored


def _option(field: Any) -> dict[str, Any]:
    choices = (
        [] if field.dynamic_choices else [c.get("value") if isinstance(c, dict) else c for c in field.choices or ()]
    )
    # The command line's own parser knows nothing of the limits: ``cmd_args.py`` reads types and choices only.
    found: dict[str, Any] = {"type": _type(field, choices)}
    if choices and field.name != "report_to" and found["type"] != "bool":
        found["choices"] = [str(c) for c in choices if c is not None]
    if isinstance(field.default_value, bool | int | float | str) and field.default_value != "":
        found["default"] = field.default_value
    for rule in field.validation_rules:
        if rule.rule_type.value in {"min", "max"} and isinstance(rule.value, int | float) and not rule.condition:
            found[rule.rule_type.value] = rule.value
    return found


def _type(field: Any, choices: Sequence[Any]) -> str:
    """As ``_determine_cli_type`` of ``cmd_args.py`` has it."""
    if field.parser_type is not None:
        return {"string": "text", "integer": "int", "float": "float", "boolean": "bool"}[field.parser_type.value]
    kind = field.field_type.value
    if field.name == "validation_prompt_library":
        return "text"
    if kind == "checkbox":
        return "bool"
    if kind == "text_json":
        return "json"
    if kind != "number":
        return "text"
    numbers = [field.default_value, *choices, *(rule.value for rule in field.validation_rules)]
    return "float" if any(isinstance(n, float) or _looks_float(n) for n in numbers) else "int"


def _looks_float(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        number = float(value)
    except ValueError:
        return False
    return "." in value or "e" in value.lower() or not number.is_integer()


def _optimizers(root: Path) -> dict[str, str]:
    """The precision that each needs, whatever packages and GPUs are there."""
    found = {}
    for node in ast.walk(_tree(root, "helpers/training/optimizer_param.py")):
        if not isinstance(node, ast.Dict):
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            if not isinstance(key, ast.Constant) or not isinstance(key.value, str) or not isinstance(value, ast.Dict):
                continue
            inner = {k.value: v for k, v in zip(value.keys, value.values, strict=True) if isinstance(k, ast.Constant)}
            if "class" in inner:
                precision = inner.get("precision")
                found[key.value] = str(precision.value) if isinstance(precision, ast.Constant) else "any"
    return found


def _legacy(root: Path) -> list[str]:
    return [
        str(decorator.args[0].value)
        for node in ast.walk(_tree(root, "helpers/configuration/cli_utils.py"))
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call)
        and getattr(decorator.func, "id", "") == _HANDLER
        and isinstance(decorator.args[0], ast.Constant)
    ]


def _entries(root: Path) -> dict[str, list[str]]:
    """The settings that entries of any type may have (``any``), and those of one type alone."""
    helpers = root / "simpletuner/helpers"
    files = [f for place in _ENTRY_READERS for f in _sources(helpers / place)]
    names = {key for file in files for key in _read_keys(file, _ENTRY_NAMES)}
    names |= set(_read_keys(helpers / "data_backend/builders/memory.py", frozenset({"config"})))
    names |= {key for file in helpers.rglob("*.py") for key in _read_keys(file, _ENTRY_NAMES_ELSEWHERE)}
    names |= set(_example_keys(root / "simpletuner/examples"))
    # What the trainer notes down for itself; a setting that it knows only to refuse is told of by a check of its own.
    names = {n for n in names if not n.startswith("_")} - {"auto_generated", "config", "disable_vae_cache", "token"}
    found = {kind: sorted(n for n in names if n.startswith(prefix)) for kind, prefix in _TYPE_PREFIXES.items()}
    special = {name for of_type in found.values() for name in of_type}
    return {"any": sorted(names - special), **dict(sorted(found.items()))}


def _sources(place: Path) -> list[Path]:
    return sorted(place.glob("*.py")) if place.is_dir() else [place]


def _example_keys(folder: Path) -> Iterator[str]:
    """What the entries of the release's own examples hold."""
    for file in sorted(folder.rglob("*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            continue  # a few are no JSON
        for entry in content if isinstance(content, list) else ():
            if isinstance(entry, dict) and "id" in entry:
                yield from entry


def _read_keys(file: Path, names: frozenset[str]) -> Iterator[str]:
    """What something called one of ``names`` is asked for: ``x.get("key")``, ``x["key"]``, ``"key" in x``."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(
                func=ast.Attribute(
                    value=ast.Name(id=name) | ast.Attribute(attr=name), attr="get" | "pop" | "setdefault"
                ),
                args=[ast.Constant(value=str(key)), *_],
            ):
                pass
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str(key))):
                pass
            case ast.Compare(left=ast.Constant(value=str(key)), comparators=[ast.Name(id=name)]):
                pass
            case _:
                continue
        if name in names:
            yield key


def _families(root: Path) -> dict[str, dict[str, Any]]:
    described = json.loads((root / "simpletuner/helpers/models/model_metadata.json").read_text(encoding="utf-8"))
    families = {}
    for name, about in sorted(described.items()):
        family: dict[str, Any] = {"flavours": about.get("flavour_choices", []), "prediction": about["prediction_type"]}
        tree = _tree(root, about["module_path"].removeprefix("simpletuner.").replace(".", "/") + ".py")
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == about["class_name"]:
                paths, default = _paths(node, tree), _constant(node, "DEFAULT_MODEL_FLAVOUR")
                family["models"] = paths
                family["default_flavour"] = default
        families[name] = family
    return families


def _paths(model: ast.ClassDef, module: ast.Module) -> dict[str, str]:
    """The flavours' names on the Hub; some are constants of the module."""
    value = _assigned(model, "HUGGINGFACE_PATHS")
    if not isinstance(value, ast.Dict):
        return {}
    found = {}
    for key, one in zip(value.keys, value.values, strict=True):
        name = _assigned(module, one.id) if isinstance(one, ast.Name) else one
        if isinstance(key, ast.Constant) and isinstance(name, ast.Constant) and isinstance(name.value, str):
            found[str(key.value)] = name.value
    return found


def _tree(root: Path, path: str) -> ast.Module:
    return ast.parse((root / "simpletuner" / path).read_text(encoding="utf-8"))


def _constant(tree: ast.Module | ast.ClassDef, name: str) -> Any:
    value = _assigned(tree, name)
    try:
        return None if value is None else ast.literal_eval(value)
    except ValueError:
        return None


def _assigned(tree: ast.Module | ast.ClassDef, name: str) -> ast.expr | None:
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        if any(getattr(target, "id", "") == name for target in targets):
            return node.value
    return None


def _version(root: Path) -> str:
    (metadata,) = root.glob("simpletuner-*.dist-info/METADATA")
    lines = metadata.read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix("Version: ") for line in lines if line.startswith("Version: "))


def _written(found: dict[str, Any]) -> str:
    """JSON with one option or family a line, so that a newer release shows as a readable difference."""
    parts = []
    for name, value in found.items():
        if isinstance(value, dict):
            lines = [f"  {json.dumps(key)}: {json.dumps(one, ensure_ascii=False)}" for key, one in value.items()]
            parts.append(f" {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n }")
        else:
            parts.append(f" {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes what SimpleTuner's options are.")
    parser.add_argument("wheel", type=Path)
    found = read(parser.parse_args().wheel)
    TARGET.write_text(_written(found), encoding="utf-8")
    print(f"{TARGET}: {len(found['options'])} options, {len(found['families'])} families")


if __name__ == "__main__":
    main()
