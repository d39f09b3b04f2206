"""Lines of a text file, unpacked and in UTF-8, each with its position."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Self, cast

from reviews_parsing.batch.readers import Layout, Limits
from reviews_parsing.batch.rows import Position
from reviews_parsing.errors import DataError
from reviews_parsing.io import filesystems

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HEAD_BYTES = 1000
"""Bytes that are kept of a line that is too long."""
BLOCK_BYTES = 2**18
UTF8_BOM = b"\xef\xbb\xbf"
_CARRIAGE_RETURNS = re.compile(rb"(?<=\r)(?!\n)(?=.)", re.DOTALL)
_NUL_SHARE, _MIN_UTF16 = 0.8, 16
_READ_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)


class Line(NamedTuple):
    """A line with its line end; only its beginning if it is too long."""

    position: Position
    data: bytes
    is_whole: bool = True


class Lines:
    """Lines of a file; open inside `with`.

    `location` is the file, `name` its name in messages. With `cr` a lone CR ends a line, as LF and CRLF do.
    """

    def __init__(self, location: str, name: str, layout: Layout, limits: Limits, cr: bool = False) -> None:
        self.name = name
        self.limits = limits
        self._location, self._layout, self._cr = location, layout, cr

    def __enter__(self) -> Self:
        """Open the file. Raises DataError if it cannot be opened."""
        self._next, self._offset = Position(), 0
        try:
            self._raw = filesystems.filesystem_of(self._location).open_stream(self._location)
        except OSError as error:
            raise unreadable(self.name, error) from None
        self._file = self._unpacked()
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def seek(self, position: Position) -> None:
        """Continue with the line at `position`. Raises DataError if the file cannot be read up to there."""
        if self._file is self._raw:
            self._file.seek(position.offset)
        else:
            if position.offset < self._offset:
                self._raw.seek(0)
                self._file, self._offset = self._unpacked(), 0
            self._skip(position.offset - self._offset)
        self._next, self._offset = position, position.offset

    def read(self, size: int) -> bytes:
        """Return the next bytes, without regard to lines. Raises DataError if the file cannot be read."""
        try:
            return self._file.read(size)
        except _READ_ERRORS as error:
            raise unreadable(self.name, error) from None

    def _skip(self, size: int) -> None:
        while size and (block := self.read(min(size, 2**20))):
            size -= len(block)

    def __iter__(self) -> Iterator[Line]:
        """Yield the lines. Raises DataError if the file cannot be read."""
        while data := self._readline():
            position, is_whole = self._next, True
            size = len(data)
            if size > self.limits.max_cell and not data.endswith(b"\n"):
                data, is_whole = data[:HEAD_BYTES], False
                while (block := self._readline()) and not block.endswith(b"\n"):
                    size += len(block)
                size += len(block)
            self._next = Position(position.offset + size, position.line + 1)
            if position.offset == 0 and data.startswith(UTF8_BOM):
                data = data[len(UTF8_BOM) :]
                position = Position(len(UTF8_BOM), 1)
            if not (self._cr and is_whole and b"\r" in data):
                yield Line(position, data, is_whole)
                continue
            for part in _CARRIAGE_RETURNS.split(data):
                self._next = Position(position.offset + len(part), position.line + 1)
                yield Line(position, part)
                position = self._next

    def _readline(self) -> bytes:
        try:
            data = self._file.readline(self.limits.max_cell + 1)
        except _READ_ERRORS as error:
            raise unreadable(self.name, error) from None
        self._offset += len(data)
        return data

    def _unpacked(self) -> BinaryIO:
        file = unpack(self._raw, self._layout.compression)
        if file is not self._raw:
            packed = filesystems.stat(self._location)
            file = _buffered(_Counted(file, self.name, self.limits, packed.size if packed else 0))
        if codecs.lookup(self._layout.encoding).name != "utf-8":
            file = _buffered(_Transcoded(file, self.name, self._layout.encoding))
        return file


def unpack(raw: BinaryIO, compression: str) -> BinaryIO:
    """Return the content of a compressed file; the file itself if it is not compressed."""
    if compression == "gzip":
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if compression == "bzip2":
        return cast(BinaryIO, bz2.BZ2File(raw))
    if compression == "xz":
        return cast(BinaryIO, lzma.LZMAFile(raw))
    if compression == "zstd":
        import pyarrow as pa

        return cast(BinaryIO, io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd"), BLOCK_BYTES))
    return raw


class _Converted(io.RawIOBase):
    """A file whose content is converted while it is read."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._next(len(view))
        view[: len(data)] = data
        return len(data)

    def _next(self, size: int) -> bytes:
        """Return up to `size` converted bytes, none at the end of the file."""
        raise NotImplementedError


class _Counted(_Converted):
    """An unpacked file that ends with DataError when it is too large for its packed size."""

    def __init__(self, file: BinaryIO, name: str, limits: Limits, packed: int) -> None:
        self._file, self._name, self._limits, self._packed = file, name, limits, packed
        self._count = 0

    def _next(self, size: int) -> bytes:
        data = self._file.read(size)
        self._count += len(data)
        self._limits.refuse_unpacked(self._name, self._packed, self._count)
        return data


class _Transcoded(_Converted):
    """A text in another encoding as UTF-8; bytes that the encoding does not have stay, and are not UTF-8."""

    def __init__(self, file: BinaryIO, name: str, encoding: str) -> None:
        self._file, self._name, self._encoding = file, name, encoding
        # Surrogates replace bytes that cannot be decoded; only the handler of UTF-16 and UTF-32 differs.
        self._errors = "surrogatepass" if codecs.lookup(encoding).name.startswith("utf") else "surrogateescape"
        self._decoder = codecs.getincrementaldecoder(encoding)(self._errors)
        self._ready = b""
        self._is_ended = False

    def _next(self, size: int) -> bytes:
        while not self._ready and not self._is_ended:
            block = self._file.read(BLOCK_BYTES)
            self._is_ended = not block
            self._ready = self._decode(block)
        data, self._ready = self._ready[:size], self._ready[size:]
        return data

    def _decode(self, block: bytes) -> bytes:
        try:
            text = self._decoder.decode(block, final=not block)
        except UnicodeError as error:  # also that of a missing byte order mark
            if block:  # the decoder cannot go on, so that all lines after this one would be lost
                reason = filesystems.first_line(error)
                raise DataError(
                    f"{self._name} is not {self._encoding} ({reason}): name another --encoding, or save it as UTF-8"
                ) from None
            text = "\udcff"
        return text.encode("utf-8", self._errors)


def _buffered(raw: io.RawIOBase) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(raw, BLOCK_BYTES))


def unreadable(name: str, error: Exception) -> DataError:
    """Return the error for a file that cannot be read."""
    reason = filesystems.error_reason(error)
    return DataError(f"{name} cannot be read ({reason}): give a whole file that you may read")


def nul_fault(data: bytes) -> str:
    """Return the fault of a line in which every second byte is NUL; '' for any other."""
    shares = sorted(half.count(0) / max(1, len(half)) for half in (data[::2], data[1::2])) if b"\0" in data else []
    if shares and len(data) >= _MIN_UTF16 and shares[0] < 1 - _NUL_SHARE and shares[1] > _NUL_SHARE:
        return "every second byte is NUL, as in UTF-16: give the joined files one by one, or save the file as UTF-8"
    return ""


def not_utf8(position: Position, data: bytes, encoding: str = "utf-8") -> str:
    """Return where and why bytes at `position` are not UTF-8; '' if they are."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"{data[error.start]:#04x} at offset {position.offset + error.start}"
        if encoding.startswith("utf-") and encoding != "utf-8":  # the byte is that of the transcoded line
            return f"a character is not {encoding}: name another --encoding"
        if encoding != "utf-8":
            return f"byte {byte} is not {encoding}: name another --encoding"
        return f"byte {byte} is not UTF-8: save the file as UTF-8, or name its --encoding"
    return ""
