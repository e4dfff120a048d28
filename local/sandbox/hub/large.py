"""Git LFS as the Hub does it: a batch answers with links, content goes there, and is put together and checked."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.sandbox.hub.gate import HubError, HubGate, base_of
from local.sandbox.hub.repos import body_json
from local.sandbox.hub.storage import SHA256, HubStorage

#: A file is 50 GB at most; https://huggingface.co/docs/hub/repositories-recommendations
MAX_FILE_BYTES = 50 * 1000**3


@dataclass
class Upload:
    """``parts`` is 0 for one request with everything. ``key`` is the secret of its links, which end at ``until``."""

    oid: str
    size: int
    parts: int
    key: str
    until: float


class Large:
    """``chunk_bytes``: files above go up in parts of this size. ``link_seconds``: how long links are good for."""

    def __init__(
        self,
        storage: HubStorage,
        gate: HubGate,
        *,
        chunk_bytes: int,
        link_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage, self._gate = storage, gate
        self.chunk_bytes, self.link_seconds = chunk_bytes, link_seconds
        self._monotonic = monotonic
        # Links don't outlive the process: what is unfinished then is planned anew, as after any expired link.
        self._uploads: dict[str, Upload] = {}

    def routes(self) -> list[Route]:
        wrap = self._gate.wrap
        return [
            Route("/{owner}/{name}.git/info/lfs/objects/batch", wrap(self.batch), methods=["POST"]),
            Route("/{owner}/{name}.git/info/lfs/objects/verify", wrap(self.verify), methods=["POST"]),
            Route("/_storage/{upload}/complete", wrap(self.complete), methods=["POST"]),
            Route("/_storage/{upload}/{part:int}", wrap(self.put), methods=["PUT"]),
        ]

    async def batch(self, request: Request) -> Response:
        name = f"{request.path_params['owner']}/{request.path_params['name']}"
        if self._storage.repo(name) is None:
            raise HubError(404, "Repository not found", "RepoNotFound")
        self._gate.writer(request, name)
        objects = (await body_json(request)).get("objects", [])
        return JSONResponse(
            {"transfer": "multipart", "objects": [self._object(request, name, entry) for entry in objects]},
            media_type="application/vnd.git-lfs+json",
        )

    def _object(self, request: Request, repo: str, entry: dict[str, object]) -> dict[str, object]:
        oid, size = str(entry.get("oid")), int(str(entry.get("size")))
        known: dict[str, object] = {"oid": oid, "size": size}
        if not SHA256.fullmatch(oid):
            return known | {"error": {"code": 422, "message": "invalid oid"}}
        if size > MAX_FILE_BYTES:
            return known | {"error": {"code": 422, "message": "Max allowed file size is 50 GB"}}
        stored = self._storage.large(oid)
        if stored is not None and stored.stat().st_size == size:
            return known
        parts = -(-size // self.chunk_bytes) if size > self.chunk_bytes else 0
        upload = self._storage.begin_upload()
        made = Upload(oid, size, parts, secrets.token_hex(8), self._monotonic() + self.link_seconds)
        self._uploads[upload] = made
        base = f"{base_of(request)}/_storage/{upload}"
        verify = {"href": f"{base_of(request)}/{repo}.git/info/lfs/objects/verify"}
        if not parts:
            return known | {"actions": {"upload": {"href": f"{base}/1?key={made.key}"}, "verify": verify}}
        links = {f"{number:05d}": f"{base}/{number}?key={made.key}" for number in range(1, parts + 1)}
        header = {"chunk_size": str(self.chunk_bytes), **links}
        complete = {"href": f"{base}/complete?key={made.key}", "header": header}
        return known | {"actions": {"upload": complete, "verify": verify}}

    async def put(self, request: Request) -> Response:
        upload, number = request.path_params["upload"], request.path_params["part"]
        known, path = self._open(request), self._storage.part(upload, number)
        if path is None:
            raise HubError(404, "The specified upload does not exist.")
        digest, length = hashlib.md5(usedforsecurity=False), 0
        unfinished = path.with_suffix(f".{secrets.token_hex(4)}.unfinished")
        try:
            with unfinished.open("wb") as out:
                async for chunk in request.stream():
                    digest.update(chunk)
                    length += len(chunk)
                    out.write(chunk)
        except ClientDisconnect:
            unfinished.unlink()
            raise
        last = number == max(known.parts, 1)
        wanted = known.size - (number - 1) * self.chunk_bytes if known.parts and last else self.chunk_bytes
        if length != (wanted if known.parts else known.size):
            unfinished.unlink()
            raise HubError(400, f"part {number} has {length} bytes")
        unfinished.replace(path)
        if not known.parts:
            self._finish(upload, known)
        return Response(headers={"etag": f'"{digest.hexdigest()}"'})

    async def complete(self, request: Request) -> Response:
        upload = request.path_params["upload"]
        known, body = self._open(request), await body_json(request)
        named = {part.get("partNumber"): part.get("etag") for part in body.get("parts", [])}
        if body.get("oid") != known.oid or set(named) != set(range(1, known.parts + 1)):
            raise HubError(400, "these are not the parts of this upload")
        for number, etag in named.items():
            path = self._storage.part(upload, number)
            if path is None or not path.is_file() or f'"{_md5(path.read_bytes())}"' != etag:
                raise HubError(400, f"part {number} is not there, or is another one")
        self._finish(upload, known)
        return JSONResponse({"oid": known.oid, "size": known.size})

    async def verify(self, request: Request) -> Response:
        name = f"{request.path_params['owner']}/{request.path_params['name']}"
        self._gate.writer(request, name)
        body = await body_json(request)
        stored = self._storage.large(str(body.get("oid")))
        if stored is None or stored.stat().st_size != body.get("size"):
            raise HubError(404, "the object was not uploaded")
        return JSONResponse({"message": "verified"})

    def _open(self, request: Request) -> Upload:
        known = self._uploads.get(request.path_params["upload"])
        if known is None or request.query_params.get("key") != known.key or self._monotonic() > known.until:
            raise HubError(403, "Request has expired")
        return known

    def _finish(self, upload: str, known: Upload) -> None:
        refused = self._storage.finish_upload(upload, known.oid, known.size)
        if refused is not None:
            raise HubError(400, refused)
        del self._uploads[upload]


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
