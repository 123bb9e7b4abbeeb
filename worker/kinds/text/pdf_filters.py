"""Decoders of the filters of PDF streams, piece by piece, so that a bomb is noticed early.

They serve to measure streams: data after an error is left out (ISO 32000-1, 7.4).
"""

import base64
import re
import zlib
from collections.abc import Callable, Iterator

Pieces = Iterator[bytes]

CHUNK = 64 * 1024
WHITESPACE = b"\0\t\n\f\r "
CLEAR, END, FIRST = 256, 257, 258  # codes of LZW


def inflated(pieces: Pieces) -> Pieces:
    inflater = zlib.decompressobj()
    try:
        for piece in pieces:
            rest = piece
            while rest and not inflater.eof:
                yield inflater.decompress(rest, CHUNK)
                rest = inflater.unconsumed_tail
            if inflater.eof:
                return
    except zlib.error:
        return


def _lzw(pieces: Pieces, early: int = 1) -> Pieces:
    single = [bytes([value]) for value in range(256)]
    table: list[bytes] = [*single, b"", b""]
    buffer = bits = 0
    width, last = 9, b""
    for piece in pieces:
        found: list[bytes] = []
        size = 0
        for byte in piece:
            buffer, bits = buffer << 8 | byte, bits + 8
            if bits < width:
                continue
            bits -= width
            code, buffer = buffer >> bits, buffer & ((1 << bits) - 1)
            if code == CLEAR:
                table, width, last = [*single, b"", b""], 9, b""
                continue
            if code == END or code > len(table) or (code == len(table) and not last):
                yield b"".join(found)
                return
            entry = table[code] if code < len(table) else last + last[:1]
            if last and len(table) < 4096:
                table.append(last + entry[:1])
            last = entry
            found.append(entry)
            size += len(entry)
            if len(table) + early >= 1 << width and width < 12:
                width += 1
            if size > CHUNK:
                yield b"".join(found)
                found, size = [], 0
        yield b"".join(found)


def _lzw_late(pieces: Pieces) -> Pieces:
    """LZW with /EarlyChange 0."""
    return _lzw(pieces, early=0)


def _run_length(pieces: Pieces) -> Pieces:
    rest = b""
    for piece in pieces:
        rest += piece
        found: list[bytes] = []
        place = 0
        while place < len(rest):
            length = rest[place]
            if length == 128:
                yield b"".join(found)
                return
            end = place + (length + 2 if length < 128 else 2)
            if end > len(rest):
                break
            found.append(
                rest[place + 1 : end] if length < 128 else rest[end - 1 : end] * (257 - length)
            )
            place = end
        rest = rest[place:]
        yield b"".join(found)


def _ascii85(pieces: Pieces) -> Pieces:
    rest = b""
    for piece in pieces:
        body, end, _ = piece.translate(None, WHITESPACE).partition(b"~")
        rest += body.replace(b"z", b"!!!!!")
        place = len(rest) if end else len(rest) // 5 * 5
        try:
            yield base64.a85decode(rest[:place])
        except ValueError:
            return
        if end:
            return
        rest = rest[place:]


def _ascii_hex(pieces: Pieces) -> Pieces:
    rest = b""
    for piece in pieces:
        body, end, _ = piece.translate(None, WHITESPACE).partition(b">")
        rest += body
        place = len(rest) // 2 * 2
        try:
            yield bytes.fromhex(rest[:place].decode("ascii"))
        except ValueError:
            return
        if end:
            return
        rest = rest[place:]


DECODERS: dict[bytes, Callable[[Pieces], Pieces]] = {
    b"FlateDecode": inflated,
    b"Fl": inflated,
    b"LZWDecode": _lzw,
    b"LZW": _lzw,
    b"RunLengthDecode": _run_length,
    b"RL": _run_length,
    b"ASCII85Decode": _ascii85,
    b"A85": _ascii85,
    b"ASCIIHexDecode": _ascii_hex,
    b"AHx": _ascii_hex,
}
NAMES = re.compile(rb"/(%s)\b" % b"|".join(DECODERS))
LATE = re.compile(rb"/EarlyChange\s+0\b")


def decoders(dictionary: bytes) -> list[Callable[[Pieces], Pieces]]:
    """Return the decoders that a stream's dictionary names, in the order of their use."""
    lzw = _lzw_late if LATE.search(dictionary) else _lzw
    found = [DECODERS[name] for name in NAMES.findall(dictionary)]
    return [lzw if decoder is _lzw else decoder for decoder in found]
