"""Packaging: the code as one deterministic zip, and the whole stack as one SAM template that refers to it. Functions
that need a large library (see ``EXTRAS``) have a zip of their own, the same with that library, which would make all
others start slower.

``chalice package`` runs in a staged copy with an empty requirements.txt and makes the template and the application's
part of the zip. The third-party part (see ``vendor.py``) is added here, so that Chalice does not resolve, copy and hash
it each time. The same inputs give the same bytes, whatever the clock, the user or the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from infra.errors import DeployError
from infra.options import ROOT
from infra.template_parts import PARTS, TemplateError, load_template
from infra.vendor import LAMBDA, LAMBDA_NEWER, Target, compile_all, host, vendor_dir

LAMBDA_RUNTIME = f"python{LAMBDA.python}"


@dataclass(frozen=True)
class Extra:
    """What some functions, by their names in the template, need beside the packages of all. ``target`` is what the
    wheels are for on AWS."""

    name: str
    requirements: str
    functions: frozenset[str]
    target: Target = LAMBDA


EXTRAS = (
    Extra("imaging", "requirements-inspect.txt", frozenset({"InspectBatch"}), LAMBDA_NEWER),
    Extra("delivery", "requirements-deliver.txt", frozenset({"DeliverModel", "DeliverPiece"})),
)
#: AWS's limit for the unpacked code of a function.
MAX_UNPACKED_BYTES = 250 * 1024 * 1024
CHALICE_TIMEOUT_SECONDS = 180
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Archive:
    """A zip and its SHA-256, hex."""

    path: Path
    sha256: str

    @property
    def key(self) -> str:
        """In the bucket of archives."""
        return f"code/{self.sha256}.zip"

    @classmethod
    def of(cls, path: Path) -> Archive:
        return cls(path, hashlib.sha256(path.read_bytes()).hexdigest())


@dataclass(frozen=True)
class Package:
    """``template`` is the merged SAM template; its functions' ``CodeUri`` is still to be set, see ``located``.
    ``extras`` are archives by the names in EXTRAS; a function of none of them has ``main``."""

    main: Archive
    template: dict[str, Any]
    extras: Mapping[str, Archive] = field(default_factory=dict)

    @property
    def archives(self) -> dict[str, Path]:
        """Every archive by its key in the bucket of archives."""
        return {archive.key: archive.path for archive in (self.main, *self.extras.values())}

    def archive_of(self, function: str) -> Archive:
        for extra in EXTRAS:
            if function in extra.functions and extra.name in self.extras:
                return self.extras[extra.name]
        return self.main

    def located(self, bucket: str) -> dict[str, Any]:
        """The template with the archives in this bucket under their keys."""
        template: dict[str, Any] = json.loads(json.dumps(self.template))
        for name, resource in template["Resources"].items():
            if resource["Type"] == "AWS::Serverless::Function":
                resource["Properties"]["CodeUri"] = f"s3://{bucket}/{self.archive_of(name).key}"
        return template


def package(stage: str, *, on_emulator: bool, build_dir: Path, say: Callable[[str], None]) -> Package:
    """Builds below ``build_dir``, or finds there what was built from the same inputs. Raises DeployError."""
    target = host() if on_emulator else LAMBDA
    folder = build_dir / f"{stage}-{'emulator' if on_emulator else 'aws'}"
    archive, template_file, stamp = folder / "deployment.zip", folder / "template.json", folder / "inputs.sha256"
    special = {extra.name: folder / f"{extra.name}.zip" for extra in EXTRAS}
    inputs = fingerprint(target, stage)
    made = (archive, *special.values(), template_file)
    if not (stamp.is_file() and stamp.read_text() == inputs and all(path.is_file() for path in made)):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        wheels = vendor_dir(ROOT / "requirements.txt", target, build_dir / "vendor", say)
        more = {
            extra.name: vendor_dir(
                ROOT / extra.requirements, extra.target if target == LAMBDA else target, build_dir / "vendor", say
            )
            for extra in EXTRAS
        }
        say("Packaging the application")
        template = _chalice_package(stage, folder)
        code = _application(folder, target, say)
        _write_archive(archive, [code, wheels])
        for name, path in special.items():
            _write_archive(path, [code, wheels, more[name]])
        template_file.write_text(json.dumps(template, indent=1, sort_keys=True))
        stamp.write_text(inputs)
    template = json.loads(template_file.read_text())
    return Package(Archive.of(archive), template, {name: Archive.of(path) for name, path in special.items()})


def fingerprint(target: Target, stage: str) -> str:
    """SHA-256 over everything the package is made of."""
    digest = hashlib.sha256(f"{target} {target.interpreter is not None} {stage} {version('chalice')}".encode())
    for path in sorted(_inputs()):
        digest.update(f"\n{path.relative_to(ROOT).as_posix()}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _inputs() -> Iterator[Path]:
    yield from (
        ROOT / "app.py",
        ROOT / "requirements.txt",
        *(ROOT / extra.requirements for extra in EXTRAS),
        ROOT / ".chalice" / "config.json",
    )
    yield from (p for p in (ROOT / "chalicelib").rglob("*") if p.suffix in {".py", ".json"})
    yield from (p for p in (ROOT / "infra").rglob("*") if p.suffix in {".py", ".yaml", ".json", ".js"})


def _chalice_package(stage: str, folder: Path) -> dict[str, Any]:
    project = folder / "project"
    (project / ".chalice").mkdir(parents=True)
    shutil.copy2(ROOT / "app.py", project / "app.py")
    shutil.copy2(ROOT / ".chalice" / "config.json", project / ".chalice" / "config.json")
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "chalicelib", project / "chalicelib", ignore=ignore)
    (project / "requirements.txt").touch()
    try:
        (project / "merge.json").write_text(json.dumps(load_template(PARTS)))
    except TemplateError as error:
        raise DeployError(f"The template's parts do not fit together: {error}") from error
    command = [sys.executable, "-c", "from chalice.cli import main; main()", "package", "--stage", stage]
    command += ["--merge-template", "merge.json", "--template-format", "json", "out"]
    # Chalice imports app.py; nothing of the caller's AWS set-up may matter there.
    environment = {
        k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT"}
    }
    environment |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_CONFIG_FILE": os.devnull, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=CHALICE_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeployError(f"chalice package did not finish within {CHALICE_TIMEOUT_SECONDS} seconds.") from None
    if done.returncode != 0:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise DeployError(f"chalice package failed:\n{last}\nDoes python -c 'import app' work?")
    template: dict[str, Any] = json.loads((project / "out" / "sam.json").read_text())
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            # Chalice names the Python that packages; the wheels are for this one.
            resource["Properties"]["Runtime"] = LAMBDA_RUNTIME
    return template


def _application(folder: Path, target: Target, say: Callable[[str], None]) -> Path:
    """The application's part of Chalice's zip, compiled."""
    code = folder / "code"
    with zipfile.ZipFile(folder / "project" / "out" / "deployment.zip") as packed:
        packed.extractall(code)
    compile_all(code, target, say)
    return code


def _write_archive(archive: Path, folders: list[Path]) -> None:
    """One zip of the folders' contents: sorted, with fixed times and modes. A later folder never overwrites."""
    files: dict[str, Path] = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                files.setdefault(path.relative_to(folder).as_posix(), path)
    unpacked = sum(path.stat().st_size for path in files.values())
    if unpacked > MAX_UNPACKED_BYTES:
        raise DeployError(f"The unpacked code has {unpacked:,} bytes; Lambda takes {MAX_UNPACKED_BYTES:,}.")
    unfinished = archive.with_suffix(".unfinished")
    with zipfile.ZipFile(unfinished, "w") as packed:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            packed.writestr(entry, files[name].read_bytes())
    unfinished.replace(archive)


def main() -> None:
    """``python -m infra.package [stage]``: packages for AWS and says where the result lies."""
    stage = sys.argv[1] if len(sys.argv) > 1 else "prod"
    try:
        made = package(stage, on_emulator=False, build_dir=ROOT / "build", say=print)
    except DeployError as error:
        raise SystemExit(f"error: {error}") from None
    for archive in (made.main, *made.extras.values()):
        print(f"{archive.path} ({archive.path.stat().st_size:,} bytes, SHA-256 {archive.sha256})")


if __name__ == "__main__":
    main()
