"""A compressed tar as a stream of what is inside: forward only, bounded in memory, with an eye on bombs."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

from chalicelib.domain.archives import ArchiveKind, ArchiveRefusedError, bomb, damaged, is_bomb, truncated

BLOCK = 1024 * 1024
#: xz -9 needs 65 MiB to unpack.
MAX_XZ_MEMORY = 128 * 1024 * 1024
_MAGIC = {ArchiveKind.TAR_GZ: b"\x1f\x8b", ArchiveKind.TAR_BZ2: b"BZh", ArchiveKind.TAR_XZ: b"\xfd7zXZ\x00"}


class CompressedReader:
    """A Reader over the content of a gzip, bzip2 or xz stream, or of several one after the other.

    ``size`` is that of the compressed file. ``on_block`` is called before each block is read and may raise. Every read
    may raise ArchiveRefusedError: cut off, damaged, or a bomb.
    """

    def __init__(
        self, source: BinaryIO, kind: ArchiveKind, size: int, *, on_block: Callable[[], None] = lambda: None
    ) -> None:
        self._source, self._kind, self._size, self._on_block = source, kind, size, on_block
        self._decompressor = self._new()
        self._packed = b""
        self._block = b""
        self._at = 0
        self._over = False
        #: Bytes given out so far, skipped ones included.
        self.position = 0
        self.trailing = False

    def seek(self, offset: int) -> None:
        if offset < self.position:
            raise ValueError(f"a stream does not go back from {self.position} to {offset}")
        while self.position < offset:
            if not self.read(offset - self.position):
                return

    def read(self, length: int) -> bytes:
        if self._at >= len(self._block):
            self._block, self._at = self._fill(), 0
        piece = self._block[self._at : self._at + length]
        self._at += len(piece)
        self.position += len(piece)
        return piece

    def drain(self) -> None:
        """To the end, so that the checksum there is looked at."""
        while self.read(BLOCK):
            pass

    def _fill(self) -> bytes:
        """The next block; empty at the end."""
        while not self._over:
            self._on_block()
            if self._decompressor.eof:
                self._next_stream()
                continue
            if not self._packed and self._wants_input():
                self._packed = self._source.read(BLOCK)
                if not self._packed:
                    raise truncated("The archive is cut off.")
            chunk = self._decompress()
            if chunk:
                if is_bomb(self.position + len(chunk), self._size):
                    raise bomb(self.position + len(chunk), self._size)
                return chunk
        return b""

    def _decompress(self) -> bytes:
        try:
            chunk: bytes = self._decompressor.decompress(self._packed, BLOCK)
        except (zlib.error, OSError, ValueError, EOFError) as error:
            raise damaged("The archive is damaged: its compressed data can't be read.") from error
        except lzma.LZMAError as error:
            if "emory" in str(error):
                raise ArchiveRefusedError(
                    "unsupported_method", "Unpacking the archive needs more than 128 MiB.", "Use xz -9 or less."
                ) from error
            raise damaged("The archive is damaged: its compressed data can't be read.") from error
        # zlib hands back what it did not come to; the others keep it.
        self._packed = getattr(self._decompressor, "unconsumed_tail", b"")
        return chunk

    def _wants_input(self) -> bool:
        # zlib may hold output back with nothing left to read, and says so only by giving it.
        return bool(getattr(self._decompressor, "needs_input", True))

    def _next_stream(self) -> None:
        """Archivers may write several streams one after the other (pigz, pbzip2, cat), and pad the end with zeros."""
        rest = self._decompressor.unused_data or self._source.read(BLOCK)
        while rest and not (stripped := rest.lstrip(b"\0")):
            rest = self._source.read(BLOCK)
        rest = stripped if rest else b""
        magic = _MAGIC[self._kind]
        if len(rest) < len(magic):
            rest += self._source.read(BLOCK)
        if not rest.startswith(magic):
            self._over, self.trailing = True, bool(rest)
            return
        self._decompressor, self._packed = self._new(), rest

    def _new(self) -> Any:
        if self._kind is ArchiveKind.TAR_GZ:
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        if self._kind is ArchiveKind.TAR_BZ2:
            return bz2.BZ2Decompressor()
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY)
