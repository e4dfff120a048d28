"""Files: what goes into the package and the buckets, under which names, types and cache rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.buckets import Bucket, cache_control, content_type, forget_old_archives, publish_console
from infra.options import ROOT
from infra.package import EXTRAS, Archive, Package
from infra.vendor import LAMBDA, Target, cache_key, pip_arguments, trim
from tests.unit.infra.fakes import FakeS3


@pytest.mark.parametrize(
    ("path", "kind", "cache"),
    [
        ("index.html", "text/html; charset=utf-8", "no-cache"),
        ("docs/index.html", "text/html; charset=utf-8", "no-cache"),
        ("assets/app-B1x_9-aZ.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
        ("assets/app-DiwrgTda.css", "text/css; charset=utf-8", "public, max-age=31536000, immutable"),
        ("favicon.svg", "image/svg+xml", "no-cache"),
        ("preferences.js", "text/javascript; charset=utf-8", "no-cache"),
        ("assets/logo.png", "image/png", "no-cache"),
        ("x.unheard-of", "application/octet-stream", "no-cache"),
    ],
)
def test_files_get_their_type_and_only_hashed_names_are_kept_for_ever(path: str, kind: str, cache: str) -> None:
    assert content_type(path) == kind
    assert cache_control(path) == cache


def test_pages_are_published_last_and_stale_files_removed_after_them(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    for name in ("index.html", "assets/app-12345678.js", "zebra.svg"):
        (tmp_path / name).write_text(name)
    s3 = FakeS3()
    s3.objects = {"assets/app-old45678.js": {}, "index.html": {}, "zebra.svg": {}, "a/b/c": {}}
    said: list[str] = []
    assert publish_console(Bucket(s3, "web", "123"), tmp_path, said.append) == 3
    assert s3.order == [
        "put assets/app-12345678.js",
        "put zebra.svg",
        "put index.html",
        "delete a/b/c",
        "delete assets/app-old45678.js",
    ]
    assert set(s3.objects) == {"index.html", "assets/app-12345678.js", "zebra.svg"}
    assert s3.objects["index.html"]["CacheControl"] == "no-cache"


def test_the_newest_archives_stay() -> None:
    s3 = FakeS3()
    s3.objects = {f"code/{n}.zip": {"at": n} for n in range(8)} | {"templates/x.json": {"at": 0}}
    forget_old_archives(Bucket(s3, "artifacts", "123"), "code/")
    assert sorted(s3.objects) == [f"code/{n}.zip" for n in range(3, 8)] + ["templates/x.json"]


def test_wheels_for_lambda_are_its_platform_and_version_and_never_built_here() -> None:
    arguments = pip_arguments(Path("requirements.txt"), LAMBDA, Path("out"))
    for pair in (["--platform", "manylinux2014_x86_64"], ["--python-version", "3.12"], ["--implementation", "cp"]):
        assert arguments[arguments.index(pair[0]) + 1] == pair[1]
    assert "--only-binary=:all:" in arguments
    own = pip_arguments(Path("requirements.txt"), Target("3.11", None), Path("out"))
    assert "--platform" not in own


def test_the_cache_is_of_requirements_and_target() -> None:
    keys = {
        cache_key(b"a==1", LAMBDA),
        cache_key(b"a==2", LAMBDA),
        cache_key(b"a==1", Target("3.13", LAMBDA.platform)),
        cache_key(b"a==1", Target(LAMBDA.python, None)),
    }
    assert len(keys) == 4
    assert cache_key(b"a==1", LAMBDA) == cache_key(b"a==1", LAMBDA)


def test_what_the_runtime_has_is_left_out_and_needed_metadata_stays(tmp_path: Path) -> None:
    for name in (
        "botocore/client.py",
        "six.py",
        "urllib3/__init__.py",
        "urllib3-2.8.0.dist-info/METADATA",
        "python_dateutil-2.9.0.dist-info/RECORD",
        "bin/httpx",
        "hf_xet/hf_xet.abi3.so",
        "hf_xet-1.6.0.dist-info/METADATA",
        "httpx/_client.py",
        "httpx/__pycache__/_client.pyc",
        "httpx-0.28.1.dist-info/METADATA",
        "replicate/__about__.py",
        "replicate-1.0.7.dist-info/METADATA",
        "replicate-1.0.7.dist-info/RECORD",
        "httpx2-2.16.2.dist-info/METADATA",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    trim(tmp_path)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()) == [
        "httpx/_client.py",
        "httpx2-2.16.2.dist-info/METADATA",
        "replicate-1.0.7.dist-info/METADATA",
        "replicate/__about__.py",
    ]


def test_the_template_points_every_function_at_the_uploaded_code() -> None:
    template = {
        "Resources": {
            "A": {"Type": "AWS::Serverless::Function", "Properties": {"CodeUri": "./deployment.zip"}},
            "B": {"Type": "AWS::S3::Bucket", "Properties": {}},
        }
    }
    located = Package(Archive(Path("x.zip"), "00"), template).located("bucket")
    assert located["Resources"]["A"]["Properties"]["CodeUri"] == "s3://bucket/code/00.zip"
    assert located["Resources"]["B"] == template["Resources"]["B"]
    assert template["Resources"]["A"]["Properties"] == {"CodeUri": "./deployment.zip"}


def test_functions_with_large_libraries_get_archives_of_their_own() -> None:
    function = {"Type": "AWS::Serverless::Function", "Properties": {}}
    template = {"Resources": dict.fromkeys(("Prepare", "InspectBatch", "DeliverModel", "DeliverPiece"), function)}
    extras = {"imaging": Archive(Path("y.zip"), "11"), "delivery": Archive(Path("z.zip"), "22")}
    built = Package(Archive(Path("x.zip"), "00"), template, extras)
    located = {name: r["Properties"]["CodeUri"] for name, r in built.located("bucket")["Resources"].items()}
    assert located == {
        "Prepare": "s3://bucket/code/00.zip",
        "InspectBatch": "s3://bucket/code/11.zip",
        "DeliverModel": "s3://bucket/code/22.zip",
        "DeliverPiece": "s3://bucket/code/22.zip",
    }
    assert built.archives == {
        "code/00.zip": Path("x.zip"),
        "code/11.zip": Path("y.zip"),
        "code/22.zip": Path("z.zip"),
    }


def test_every_extra_has_pinned_requirements_and_functions_of_its_own() -> None:
    for extra in EXTRAS:
        lines = [line for line in (ROOT / extra.requirements).read_text().splitlines() if not line.startswith("#")]
        assert lines
        assert all("==" in line for line in lines)
    names = [name for extra in EXTRAS for name in extra.functions]
    assert len(names) == len(set(names))
