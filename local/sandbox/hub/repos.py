"""The Hub's routes of accounts and repositories: who am I, create, look, commit, read."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any
from urllib.parse import parse_qs, unquote

import yaml  # type: ignore[import-untyped, unused-ignore]  # its stubs are optional
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from local.sandbox.hub.gate import HubError, HubGate, base_of
from local.sandbox.hub.people import Holder
from local.sandbox.hub.storage import MAIN, NAME, SHA256, File, HubStorage, Repo

#: The Hub keeps larger files, and what looks binary, as large files.
REGULAR_BYTES = 10 * 1024 * 1024
LARGE_SUFFIXES = (".safetensors", ".bin", ".pt", ".ckpt", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4", ".zip")
MAX_BODY_BYTES = 256 * 1024 * 1024


class Repos:
    def __init__(self, storage: HubStorage, gate: HubGate) -> None:
        self._storage, self._gate = storage, gate

    def routes(self) -> list[Route]:
        model, wrap = "/api/models/{owner}/{name}", self._gate.wrap
        return [
            Route("/api/whoami-v2", wrap(self.whoami), methods=["GET"]),
            Route("/api/validate-yaml", wrap(self.validate), methods=["POST"]),
            Route("/api/repos/create", wrap(self.create), methods=["POST"]),
            Route(f"{model}/preupload/{{revision:path}}", wrap(self.preupload), methods=["POST"]),
            Route(f"{model}/commit/{{revision:path}}", wrap(self.commit), methods=["POST"]),
            Route(f"{model}/paths-info/{{revision:path}}", wrap(self.paths_info), methods=["POST"]),
            Route(f"{model}/tree/{{revision:path}}", wrap(self.tree), methods=["GET"]),
            Route(f"{model}/revision/{{revision:path}}", wrap(self.look), methods=["GET"]),
            Route(f"{model}/branch/{{revision:path}}", wrap(self.branch), methods=["POST"]),
            Route(model, wrap(self.look), methods=["GET"]),
            Route("/{owner}/{name}/resolve/{revision}/{path:path}", wrap(self.resolve), methods=["GET", "HEAD"]),
        ]

    async def whoami(self, request: Request) -> Response:
        return JSONResponse(self._gate.known(request).whoami())

    async def validate(self, request: Request) -> Response:
        content = str((await body_json(request)).get("content", ""))
        errors = []
        if content.startswith("---\n"):
            try:
                card = yaml.safe_load(content[4:].split("\n---", 1)[0])
                if not isinstance(card, dict):
                    errors.append({"message": "metadata is no mapping"})
            except yaml.YAMLError as error:
                errors.append({"message": f"no valid YAML: {error}"})
        return JSONResponse({"errors": errors, "warnings": []}, 400 if errors else 200)

    async def create(self, request: Request) -> Response:
        body, holder = await body_json(request), self._gate.known(request)
        name = f"{body.get('organization') or holder.name}/{body.get('name')}"
        owner, _, short = name.partition("/")
        if not (NAME.fullmatch(owner) and NAME.fullmatch(short)):
            raise HubError(400, f"Invalid repository name: {name}")
        if not holder.may_write(name):
            raise HubError(403, f'You don\'t have the rights to create a model under the namespace "{owner}"')
        url = f"{base_of(request)}/{name}"
        if self._storage.repo(name) is not None:
            raise HubError(409, "You already created this model repo", url=url)
        private = body.get("visibility") == "private" or body.get("private") is True
        self._storage.create(name, private=private)
        return JSONResponse({"url": url, "name": name, "id": name, "private": private})

    async def look(self, request: Request) -> Response:
        repo = self._readable(request)
        revision = unquote(request.path_params.get("revision", MAIN))
        commit = self._commit_of(repo, revision)
        return JSONResponse(
            {
                "_id": repo.name,
                "id": repo.name,
                "modelId": repo.name,
                "author": repo.name.split("/")[0],
                "sha": commit,
                "private": repo.private,
                "gated": False,
                "disabled": False,
                "tags": [],
                "siblings": [{"rfilename": path} for path in repo.files(commit)],
            }
        )

    async def branch(self, request: Request) -> Response:
        repo = self._writable(request)
        name = unquote(request.path_params["revision"])
        if name in repo.branches:
            raise HubError(409, f"Reference already exists: {name}")
        repo.branches[name] = repo.branches[MAIN]
        self._storage.save(repo)
        return JSONResponse({})

    async def preupload(self, request: Request) -> Response:
        repo = self._writable(request)
        there = repo.files(self._commit_of(repo, unquote(request.path_params["revision"])))
        files = []
        for file in (await body_json(request)).get("files", []):
            path, size = str(file["path"]), int(file["size"])
            sample = base64.b64decode(file.get("sample", ""))
            large = size > REGULAR_BYTES or path.lower().endswith(LARGE_SUFFIXES) or b"\0" in sample
            known = there.get(path)
            files.append(
                {
                    "path": path,
                    "uploadMode": "lfs" if large and size else "regular",
                    "shouldIgnore": False,
                    **({"oid": known.remote_oid} if known else {}),
                }
            )
        return JSONResponse({"files": files})

    async def commit(self, request: Request) -> Response:
        repo = self._writable(request)
        branch = unquote(request.path_params["revision"])
        head = repo.branches.get(branch)
        if head is None:
            raise HubError(404, f"Invalid rev id: {branch}", "RevisionNotFound")
        files, title = repo.files(head), "commit"
        for line in (await body_bytes(request)).splitlines():
            try:
                entry = json.loads(line)
                kind, value = entry["key"], entry["value"]
            except (ValueError, KeyError, TypeError):
                raise HubError(400, "a line of the commit can't be understood") from None
            if kind == "header":
                title = str(value.get("summary", ""))
                if value.get("parentCommit") not in {None, head}:
                    raise HubError(412, "A commit has happened since. Please refresh and try again.")
            else:
                path, file = self._entry(kind, value)
                files[path] = file
        commit = repo.add(branch, title, files)
        self._storage.save(repo)
        return JSONResponse({"commitUrl": f"{base_of(request)}/{repo.name}/commit/{commit}", "commitOid": commit})

    def _entry(self, kind: str, value: Any) -> tuple[str, File]:
        path = str(value.get("path", ""))
        if not path or path.startswith("/") or ".." in path.split("/"):
            raise HubError(400, f"Invalid path: {path}")
        if kind == "file":
            try:
                return path, self._storage.put_blob(base64.b64decode(value["content"], validate=True))
            except (binascii.Error, KeyError, ValueError):
                raise HubError(400, f"the content of {path} is no base64") from None
        if kind == "lfsFile":
            sha256 = str(value.get("oid"))
            stored = self._storage.large(sha256) if SHA256.fullmatch(sha256) else None
            if stored is None or stored.stat().st_size != value.get("size"):
                raise HubError(
                    400, f"Your push was rejected: LFS pointer pointed to a file that does not exist: {path}"
                )
            return path, self._storage.pointer(sha256, stored.stat().st_size)
        raise HubError(400, f"unknown operation {kind}")

    async def paths_info(self, request: Request) -> Response:
        repo = self._readable(request)
        files = repo.files(self._commit_of(repo, unquote(request.path_params["revision"])))
        wanted = parse_qs((await body_bytes(request)).decode()).get("paths", [])
        return JSONResponse([_described(path, files[path]) for path in wanted if path in files])

    async def tree(self, request: Request) -> Response:
        repo = self._readable(request)
        files = repo.files(self._commit_of(repo, unquote(request.path_params["revision"])))
        return JSONResponse([_described(path, file) for path, file in files.items()])

    async def resolve(self, request: Request) -> Response:
        repo = self._readable(request)
        commit = self._commit_of(repo, unquote(request.path_params["revision"]))
        file = repo.files(commit).get(request.path_params["path"])
        if file is None:
            raise HubError(404, "Entry not found", "EntryNotFound")
        headers = {"etag": f'"{file.remote_oid}"', "x-repo-commit": commit}
        return FileResponse(self._storage.path_of(file), headers=headers, media_type="application/octet-stream")

    def _readable(self, request: Request) -> Repo:
        name = f"{request.path_params['owner']}/{request.path_params['name']}"
        holder: Holder | None = self._gate.holder(request)
        repo = self._storage.repo(name)
        if repo is None or (repo.private and not (holder and holder.may_read(name))):
            # As the Hub does: what is private does not exist, and without a token all might be private.
            raise HubError(404 if holder else 401, "Repository not found", "RepoNotFound")
        return repo

    def _writable(self, request: Request) -> Repo:
        repo = self._readable(request)
        self._gate.writer(request, repo.name)
        return repo

    def _commit_of(self, repo: Repo, revision: str) -> str:
        commit = repo.resolve(revision)
        if commit is None:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit


def _described(path: str, file: File) -> dict[str, Any]:
    large = {"lfs": {"oid": file.sha256, "size": file.size, "pointerSize": 134}} if file.sha256 else {}
    return {"type": "file", "path": path, "size": file.size, "oid": file.oid, **large}


async def body_bytes(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HubError(413, "the request is too large")
    return bytes(body)


async def body_json(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await body_bytes(request))
    except ValueError:
        raise HubError(400, "the body is no JSON") from None
    if not isinstance(body, dict):
        raise HubError(400, "the body is no object")
    return body
