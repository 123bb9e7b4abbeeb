"""PDF files written by hand, object by object, so that they can be wrong in any way."""

import zlib
from pathlib import Path

FOX = b"The quick brown fox jumps over the lazy dog"
FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
LETTER = b"[0 0 612 792]"

Objects = dict[int, bytes]


def text(words: bytes, matrix: bytes = b"1 0 0 1 72 700", size: int = 24) -> bytes:
    return b"BT /F1 %d Tf %s Tm (%s) Tj ET " % (size, matrix, words)


def stream(data: bytes, entries: bytes = b"") -> bytes:
    return b"<< /Length %d %s>>\nstream\n%s\nendstream" % (len(data), entries, data)


def deflated(data: bytes, entries: bytes = b"") -> bytes:
    return stream(zlib.compress(data, 9), entries + b"/Filter /FlateDecode ")


def one_page(content: bytes, *, box: bytes = LETTER, entries: bytes = b"") -> Objects:
    """A document with one page; `content` is a stream's data or a whole stream."""
    return {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        3: b"<< /Type /Page /Parent 2 0 R /MediaBox %s /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> %s>>" % (box, entries),
        4: content if content.startswith(b"<<") else stream(content),
        5: FONT,
    }


def with_pages(objects: Objects, count: int, kids: int) -> Objects:
    """The page `kids` times over, and a number of pages that need not be that."""
    pages = b" ".join([b"3 0 R"] * kids)
    return objects | {2: b"<< /Type /Pages /Kids [%s] /Count %d >>" % (pages, count)}


def with_picture(objects: Objects, picture: bytes) -> Objects:
    resources = objects[3].replace(b"/Font <<", b"/XObject << /I 6 0 R >> /Font <<")
    return objects | {3: resources, 6: picture}


def write(path: Path, objects: Objects) -> Path:
    file = bytearray(b"%PDF-1.7\n")
    offsets = {}
    for number, content in objects.items():
        offsets[number] = len(file)
        file += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(file)
    size = max(objects) + 1
    file += b"xref\n0 %d\n0000000000 65535 f \n" % size
    for number in range(1, size):
        in_use = number in offsets
        file += b"%010d %s \n" % (offsets.get(number, 0), b"00000 n" if in_use else b"65535 f")
    file += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, start)
    path.write_bytes(file)
    return path


def write_compressed(path: Path, objects: Objects) -> Path:
    """Like `write`, with all objects that are not streams in an object stream."""
    packed = {n: content for n, content in objects.items() if b"stream" not in content}
    holder, table = max(objects) + 1, max(objects) + 2
    heads, bodies = b"", b""
    for number, content in packed.items():
        heads += b"%d %d " % (number, len(bodies))
        bodies += content + b"\n"
    entries = b"/Type /ObjStm /N %d /First %d " % (len(packed), len(heads))
    streams = {n: content for n, content in objects.items() if n not in packed}
    streams[holder] = deflated(heads + bodies, entries)
    file = bytearray(b"%PDF-1.7\n")
    rows = {n: (2, holder, index) for index, n in enumerate(packed)}
    for number, content in streams.items():
        rows[number] = (1, len(file), 0)
        file += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    rows[table] = (1, len(file), 0)
    cells = b"".join(
        kind.to_bytes() + place.to_bytes(4) + index.to_bytes(2)
        for kind, place, index in (rows.get(n, (0, 0, 65535)) for n in range(table + 1))
    )
    head = b"/Type /XRef /W [1 4 2] /Size %d /Root 1 0 R " % (table + 1)
    start = len(file)
    file += b"%d 0 obj\n%s\nendobj\nstartxref\n%d\n%%%%EOF\n" % (
        table,
        deflated(cells, head),
        start,
    )
    path.write_bytes(file)
    return path
