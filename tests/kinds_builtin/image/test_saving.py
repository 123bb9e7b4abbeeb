"""Quality by size, effort, metadata without previews, and placeholders."""

import base64
import io
import struct
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import ValidationError

from app.jobs import JobError
from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.image.rendering import CASES, Transform, close, opened, refused
from worker.kinds.image.metadata import without_photoshop_thumbnails, without_xmp_thumbnails
from worker.kinds.image.placeholder import blurhash


@pytest.mark.parametrize(("kind", "most"), [("jpeg", 3000), ("webp", 2000), ("avif", 1500)])
def test_file_is_no_larger_than_max_bytes_and_not_much_smaller(
    render: Transform, pictures: Path, kind: str, most: int
) -> None:
    wish = {"format": kind, "width": 160}
    made = render(pictures / "coffee.png", wish | {"max_bytes": most}).renditions[0]
    assert made.quality is not None
    assert made.bytes <= most
    # One more of quality would not have fitted.
    more = render(pictures / "coffee.png", wish | {"quality": made.quality + 1}).renditions[0]
    assert more.bytes > most


def test_quality_is_not_raised_to_fill_max_bytes(render: Transform, pictures: Path) -> None:
    wish = {"format": "jpeg", "width": 160, "quality": 40}
    made = render(pictures / "coffee.png", wish | {"max_bytes": 10_000_000}, wish).renditions
    assert made[0].quality == made[1].quality == 40
    assert made[0].bytes == made[1].bytes


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_max_bytes_that_cannot_be_reached_is_an_error(
    render: Transform, pictures: Path, kind: str
) -> None:
    error = refused(render, pictures / "coffee.png", {"format": kind, "max_bytes": 200})
    assert error.code == "max-bytes-too-small"
    assert "quality 1" in error.detail


def test_max_bytes_that_the_metadata_exceeds_names_it(
    render: Transform, pictures: Path, tmp_path: Path
) -> None:
    path = tmp_path / "long.jpg"
    exif = Image.Exif()
    exif[0x010E] = "a long description " * 100
    with Image.open(pictures / "coffee.png") as image:
        image.resize((40, 30)).save(path, exif=exif)
    wish = {"format": "jpeg", "max_bytes": 1500}
    with pytest.raises(JobError, match="or set metadata to strip") as caught:
        render(path, wish, metadata="keep")
    assert caught.value.code == "max-bytes-too-small"
    assert render(path, wish).renditions[0].bytes <= 1500


def test_max_bytes_leaves_no_attempts_behind(
    render: Transform, job: FolderContext, pictures: Path
) -> None:
    render(pictures / "coffee.png", {"format": "webp", "width": 100, "max_bytes": 1500})
    assert [path.name for path in job.scratch.iterdir()] == ["rendition-0.webp"]


@pytest.mark.parametrize(
    ("kind", "least", "most"), [("webp", 0, 6), ("avif", 0, 5), ("gif", 1, 10)]
)
def test_effort_changes_the_file_and_not_the_picture(
    render: Transform, job: FolderContext, pictures: Path, kind: str, least: int, most: int
) -> None:
    wish = {"format": kind, "width": 100}
    result = render(
        pictures / "coffee.png", wish | {"effort": least}, wish | {"effort": most}, wish
    )
    low, high, default = (opened(job, result, index).convert("RGB") for index in range(3))
    assert result.renditions[0].bytes != result.renditions[1].bytes
    for image in (high, default):
        distance = numpy.asarray(low).astype(int) - numpy.asarray(image)
        assert numpy.abs(distance).mean() < 8


@pytest.mark.parametrize(
    "wish",
    [
        {"format": "jpeg", "effort": 3},
        {"format": "png", "effort": 3},
        {"format": "webp", "effort": 7},
        {"format": "gif", "effort": 0},
        {"format": "avif", "effort": 10},
        {"format": "png", "max_bytes": 10_000},
        {"format": "gif", "max_bytes": 10_000},
        {"format": "gif", "quality": 80},
        {"format": "jpeg", "max_bytes": 10},
    ],
)
def test_option_that_the_format_lacks_is_refused(
    render: Transform, pictures: Path, wish: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        render(pictures / "coffee.png", wish)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def thumbnail_in(data: bytes) -> bool:
    """Whether a second JPEG file begins inside this one."""
    return data.count(b"\xff\xd8\xff") > (1 if data.startswith(b"\xff\xd8") else 0)


def segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def resource(number: int, content: bytes, name: bytes = b"") -> bytes:
    name = bytes([len(name)]) + name
    name += bytes(len(name) % 2)
    padding = bytes(len(content) % 2)
    size = struct.pack(">I", len(content))
    return b"8BIM" + struct.pack(">H", number) + name + size + content + padding


@pytest.fixture(scope="module")
def inner() -> bytes:
    """A small picture, to be hidden in the metadata of another."""
    return jpeg(Image.new("RGB", (16, 16), (250, 10, 10)))


CROP = {"left": 0, "top": 0, "width": 40, "height": 30}


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("crop", [CROP, None], ids=["cropped", "whole"])
def test_kept_exif_has_no_thumbnail(
    render: Transform, job: FolderContext, kind: str, crop: dict[str, int] | None
) -> None:
    path = CASES / "exif-thumbnail.jpg"
    assert thumbnail_in(path.read_bytes())
    result = render(path, {"format": kind, "crop": crop}, metadata="keep")
    image = opened(job, result)
    exif = image.getexif()
    assert exif.get_ifd(0x8769) or dict(exif)  # the rest is kept
    assert not exif.get_ifd(1)
    assert not thumbnail_in(job.path(result.renditions[0].file).read_bytes())


def test_kept_metadata_is_the_sources_without_previews(
    render: Transform, job: FolderContext, tmp_path: Path, inner: bytes
) -> None:
    coded = base64.b64encode(inner)
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf'
        b'-syntax-ns#"><rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:xmpGImg='
        b'"http://ns.adobe.com/xap/1.0/g/img/" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        b"<dc:format>image/jpeg</dc:format><xmp:Thumbnails><rdf:Alt><rdf:li><xmpGImg:image>"
        + coded
        + b"</xmpGImg:image></rdf:li></rdf:Alt></xmp:Thumbnails><dc:title>Rings</dc:title>"
        b"</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    caption = b"\x1c\x02\x78\x00\x05Rings"
    photoshop = b"Photoshop 3.0\0" + resource(1036, bytes(28) + inner) + resource(1028, caption)
    exif = Image.Exif()
    exif[0x013B] = "Ada"
    exif.get_ifd(0x8769)[0x927C] = b"MAKER" + inner
    exif.get_ifd(0x8769)[0x9003] = "2026:01:02 03:04:05"
    whole = jpeg(Image.effect_noise((80, 60), 60).convert("RGB"), exif=exif)
    blocks = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp) + segment(0xED, photoshop)
    path = tmp_path / "previews.jpg"
    path.write_bytes(whole[:2] + blocks + whole[2:])
    assert path.read_bytes().count(inner) == 2
    assert coded in path.read_bytes()

    result = render(path, {"format": "jpeg", "crop": CROP}, metadata="keep")
    made = job.path(result.renditions[0].file).read_bytes()
    assert not thumbnail_in(made)
    assert coded not in made
    assert b"MAKER" not in made
    assert caption in made
    assert b"<dc:title>Rings</dc:title>" in made
    with Image.open(job.path(result.renditions[0].file)) as image:
        assert image.getexif()[0x013B] == "Ada"
        assert image.getexif().get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"


def test_xmp_with_a_picture_in_an_unknown_place_is_dropped() -> None:
    assert without_xmp_thumbnails(b'<a xmpGImg:image="AAAA"/>') == b""
    assert without_xmp_thumbnails(b"<xmp:Thumbnails/><a/>") == b"<a/>"
    assert without_xmp_thumbnails(b"<a/>") == b"<a/>"


def packet(content: str, namespaces: str = "") -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/" {namespaces}>'
        f"<dc:title>Rings</dc:title>{content}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


ADOBE = "http://ns.adobe.com/xap/1.0/"
GOOGLE = "http://ns.google.com/photos/1.0"
CODED = "/9j/4AAQSkZJRg" + "A" * 200
OTHER = "A" * 200  # Base64 of a format that is not looked for
THUMBNAIL = "<a:Thumbnails><rdf:Alt><rdf:li><g:image>{}</g:image></rdf:li></rdf:Alt></a:Thumbnails>"
STORED = {
    "other prefixes": packet(THUMBNAIL.format(OTHER), f"xmlns:a='{ADOBE}' xmlns:g='{ADOBE}g/img/'"),
    "no prefix": packet(f'<image xmlns="{ADOBE}g/img/">{OTHER}</image>'),
    "UTF-16": packet(THUMBNAIL.format(CODED)).decode().encode("utf-16"),
    "UTF-16 without a mark": packet(THUMBNAIL.format(CODED)).decode().encode("utf-16-be"),
    "before an effect": packet(f"<g:Data>{OTHER}</g:Data>", f'xmlns:g="{GOOGLE}/image/"'),
    "depth": packet("", f'xmlns:GDepth="{GOOGLE}/depthmap/" GDepth:Data="{OTHER}"'),
    "an unknown element": packet(f"<b:c>{CODED}</b:c>", 'xmlns:b="urn:b"'),
    "an escaped sign": packet(f"<b:c>{CODED.replace('/', '&#x2F;')}</b:c>", 'xmlns:b="urn:b"'),
    "not a text": packet("<b:c/>") + b"\xff",
    "many prefixes": packet(
        "", " ".join(f'xmlns:p{number}="{ADOBE}g/img/"' for number in range(20_000))
    ),
    "many thumbnails": b"<xmp:Thumbnails " * 100_000,
}


@pytest.mark.parametrize("way", STORED)
def test_xmp_with_a_picture_that_is_stored_in_another_way_is_dropped(
    render: Transform, job: FolderContext, tmp_path: Path, way: str
) -> None:
    assert without_xmp_thumbnails(STORED[way]) == b""
    if len(STORED[way]) > 60_000:
        return
    path = tmp_path / "previews.jpg"
    path.write_bytes(jpeg(Image.new("RGB", (80, 60)), xmp=STORED[way]))
    result = render(path, {"format": "jpeg", "crop": CROP}, metadata="keep")
    assert "xmp" not in opened(job, result).info


@pytest.mark.parametrize(
    "kept", [packet(""), packet("") + b"\0", packet("", f'xmlns:xmpGImg="{ADOBE}g/img/"')]
)
def test_xmp_without_a_picture_is_kept(kept: bytes) -> None:
    assert without_xmp_thumbnails(kept) == kept


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_metadata_with_a_name_in_latin_1_does_not_fail_the_job(
    render: Transform, job: FolderContext, tmp_path: Path, kind: str
) -> None:
    notes = PngInfo()
    notes.add_text("Title", "Overview")
    notes.add(b"tEXt", "Größe\0Übersicht".encode("latin-1"))
    path = tmp_path / "notes.png"
    Image.new("RGB", (20, 10)).save(path, pnginfo=notes)
    made = opened(job, render(path, {"format": kind}, metadata="keep"))
    if kind == "png":
        assert made.info["Title"] == "Overview"


def test_photoshop_resources_other_than_thumbnails_are_kept() -> None:
    kept = resource(1028, b"caption") + resource(1060, b"x", name=b"ab")
    block = b"Photoshop 3.0\0" + resource(1033, b"t" * 31) + kept + resource(1036, b"t" * 30)
    assert without_photoshop_thumbnails(block) == b"Photoshop 3.0\0" + kept
    cut = block[: len(block) - 5]
    assert b"ttt" not in without_photoshop_thumbnails(cut)


def test_heic_keeps_its_exif_on_demand(
    render: Transform, job: FolderContext, tmp_path: Path
) -> None:
    """The case has none: an Exif item is added to its boxes by hand."""
    path = tmp_path / "with-exif.heic"
    path.write_bytes(heic_with_exif("Ada"))
    kept = opened(job, render(path, {"format": "jpeg"}, metadata="keep"))
    assert kept.getexif()[0x013B] == "Ada"
    assert kept.getexif().get(0x0112, 1) == 1
    assert dict(opened(job, render(path, {"format": "jpeg"}), -1).getexif()) == {}


def heic_with_exif(artist: str) -> bytes:
    data = (CASES / "phone.heic").read_bytes()
    exif = Image.Exif()
    exif[0x013B] = artist
    exif[0x0112] = 6  # which a reader of HEIC ignores
    payload = bytes(4) + exif.tobytes().removeprefix(b"Exif\0\0")
    return add_item(data, b"Exif", payload)


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        found.append((kind, data[at + 8 : at + size]))
        at += size
    return found


def add_item(data: bytes, kind: bytes, payload: bytes) -> bytes:
    """A HEIF file with one more item, about item 1, whose content is in the meta box's `idat`."""
    top = boxes(data)
    old_meta = next(content for name, content in top if name == b"meta")
    meta = dict(boxes(old_meta[4:]))
    infe = box(b"infe", b"\x02\0\0\0" + struct.pack(">HH4s", 99, 0, kind) + b"\0")
    count = int.from_bytes(meta[b"iinf"][4:6])
    new: list[tuple[bytes, bytes]] = []
    for name, content in boxes(old_meta[4:]):
        if name == b"iinf":
            new.append((name, content[:4] + struct.pack(">H", count + 1) + content[6:] + infe))
        elif name != b"iloc":
            new.append((name, content))
    reference = box(b"cdsc", struct.pack(">HHH", 99, 1, 1))
    new.append((b"iref", bytes(4) + reference))
    # Both items' contents in `idat`: construction method 1 of version 1 of `iloc`.
    pixels = next(content for name, content in top if name == b"mdat")
    entries = b""
    for number, start, size in ((1, 0, len(pixels)), (99, len(pixels), len(payload))):
        entries += struct.pack(">HHHHII", number, 1, 0, 1, start, size)
    new.append((b"iloc", b"\x01\0\0\0\x44\0" + struct.pack(">H", 2) + entries))
    new.append((b"idat", pixels + payload))
    body = b"".join(box(name, content) for name, content in new)
    ftyp = next(content for name, content in top if name == b"ftyp")
    return box(b"ftyp", ftyp) + box(b"meta", bytes(4) + body)


# Made with the package blurhash 1.1.5 from the picture of `slope`, for the same waves.
HASHES = {
    (4, 3): "LxH28N2mwxX0mIWXjtf8gJfdfQfb",
    (3, 4): "TxH28N2mwxmIWXjtgJfdfQn-Wmjt",
    (1, 1): "00H28N",
    (5, 5): "exH28N2mwxX0a^mIWXjtf8fQgJfdfQfbfMn-WmjtfMfOe;fUfQfWfT",
}


def slope() -> Any:
    """32 x 24: red grows to the right, green downwards, blue in a checkerboard."""
    y, x = numpy.mgrid[0:24, 0:32]
    return numpy.dstack([x * 8, y * 10, (x // 8 + y // 8) % 2 * 255]).astype(numpy.uint8)


@pytest.mark.parametrize(("waves", "expected"), HASHES.items())
def test_blurhash_is_that_of_the_reference_implementation(
    waves: tuple[int, int], expected: str
) -> None:
    assert blurhash(slope(), *waves) == expected


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "avif", "gif"])
def test_placeholder_is_that_of_the_rendition(
    render: Transform, tmp_path: Path, quarters: Path, kind: str
) -> None:
    """The crop shows one colour only, so the hash has one colour and no waves."""
    crop = {"left": 70, "top": 5, "width": 40, "height": 30}
    made = render(quarters, {"format": kind, "crop": crop}, placeholder=True).renditions[0]
    assert made.dominant_colour is not None
    assert made.blurhash is not None
    assert close(bytes.fromhex(made.dominant_colour[1:]), (20, 200, 20))
    assert len(made.blurhash) == 28
    assert made.blurhash[0] == "L"  # 4 x 3


def test_dominant_colour_is_the_most_frequent_one(render: Transform, tmp_path: Path) -> None:
    image = Image.new("RGB", (60, 90), (200, 30, 40))
    image.paste((10, 20, 90), (0, 0, 60, 40))
    path = tmp_path / "flag.png"
    image.save(path)
    made = render(path, {}, placeholder=True).renditions[0]
    assert made.dominant_colour == "#c81e28"
    assert made.blurhash is not None
    assert made.blurhash[0] == "T"  # 3 x 4 for a picture that is higher than wide


def test_result_has_no_placeholder_by_default(render: Transform, quarters: Path) -> None:
    made = render(quarters, {}).renditions[0]
    assert (made.blurhash, made.dominant_colour) == (None, None)


def test_damaged_source_is_rendered_on_demand_and_the_result_says_so(
    render: Transform, job: FolderContext, pictures: Path, tmp_path: Path
) -> None:
    path = tmp_path / "cut.jpg"
    whole = (pictures / "rocket.jpg").read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(JobError):
        render(path, {"width": 100})
    result = render(path, {"width": 100}, {}, tolerate_damage=True)
    assert result.source.damaged
    intact = render(pictures / "rocket.jpg", {}, tolerate_damage=True)
    assert not intact.source.damaged
    upper = (0, 0, 640, 100)
    expected = opened(job, intact).crop(upper)
    assert opened(job, result, 1).crop(upper).tobytes() == expected.tobytes()
