"""Where in S3 the owner already has the content of files: in versions that are ready. Never another owner's."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from chalicelib.domain.datasets import DatasetVersion, VersionStatus
from chalicelib.domain.ports import Ports
from chalicelib.services.manifests import Manifests

#: How many versions are searched: the newest ones of the same dataset, and the newest one of others.
SAME_DATASET = 5
OTHER_DATASETS = 20
#: Other datasets that are looked at to find those that changed last.
MAX_DATASETS = 500
#: Manifest lines read for one index.
MAX_LINES = 400_000
#: Indexes kept in memory.
MAX_REMEMBERED = 4
THREADS = 8

#: SHA-256 and size.
Content = tuple[str, int]


class CopySources:
    """Indexes content -> key for versions that are being uploaded. Safe to share by threads."""

    def __init__(self, ports: Ports, manifests: Manifests) -> None:
        self._ports = ports
        self._manifests = manifests
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, ...], Mapping[Content, str]] = OrderedDict()

    def of(self, version: DatasetVersion) -> Mapping[Content, str]:
        """Keys of objects of the same owner with content that ``version`` has. What is in it may vanish any time."""
        candidates = self._candidates(version)
        wanted_by = (version.owner, version.manifest_key, version.merkle_root)
        name = (*wanted_by, *(f"{c.prefix}@{c.created_at.isoformat()}" for c in candidates))
        with self._lock:
            known = self._known.get(name)
            if known is not None:
                self._known.move_to_end(name)
                return known
        index = self._index(version, candidates)
        with self._lock:
            self._known[name] = index
            while len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)
        return index

    def _candidates(self, version: DatasetVersion) -> list[DatasetVersion]:
        store, owner = self._ports.datasets, version.owner
        same = [
            v
            for v in store.list_versions(owner, version.dataset_id)
            if v.status is VersionStatus.READY and v.version_id != version.version_id
        ]
        datasets, _ = store.list_datasets(owner, limit=MAX_DATASETS)
        others = [d for d in datasets if d.dataset_id != version.dataset_id and d.latest_version is not None]
        others = sorted(others, key=lambda d: d.updated_at, reverse=True)[:OTHER_DATASETS]
        with ThreadPoolExecutor(THREADS) as pool:
            newest = pool.map(lambda d: store.get_version(owner, d.dataset_id, d.latest_version or ""), others)
            ready = [v for v in newest if v is not None and v.status is VersionStatus.READY]
        return same[:SAME_DATASET] + ready

    def _index(self, version: DatasetVersion, candidates: list[DatasetVersion]) -> Mapping[Content, str]:
        wanted = {(f.sha256, f.size) for f in self._manifests.of(version)}
        index: dict[Content, str] = {}
        left = MAX_LINES
        for candidate in candidates:
            if left < candidate.files or len(index) == len(wanted):
                break
            left -= candidate.files
            for line in self._manifests.lines(candidate):
                content = (line["sha256"], line["size"])
                if content in wanted:
                    index.setdefault(content, candidate.prefix + line["path"])
        return index
