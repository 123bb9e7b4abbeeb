"""Which pictures are opened, which are refused and with which words."""

import io
import logging
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.jobs import JobError
from tests.kinds_builtin.image.rendering import CASES
from worker.kinds.pictures import Picture, open_picture, vips


def opened(path: Path, **options: Any) -> Picture:
    return open_picture(vips(1), path, **options)


def decoded(path: Path, **options: Any) -> Picture:
    picture = opened(path, **options)
    picture.decode(lambda: picture.reduced(32, 32, size="down", output_profile="srgb").avg())
    return picture


def refused(path: Path, **options: Any) -> JobError:
    with pytest.raises(JobError) as caught:
        decoded(path, **options)
    error = caught.value
    assert str(path.parent) not in error.detail
    assert path.name not in error.detail
    return error


@pytest.fixture(scope="module")
def noise() -> Image.Image:
    """A picture whose compressed bytes are spread over the whole file."""
    generator = random.Random(7)
    return Image.frombytes("RGB", (96, 64), generator.randbytes(96 * 64 * 3))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


WAYS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "jpeg": ("RGB", "JPEG", {}),
    "jpeg-progressive": ("RGB", "JPEG", {"progressive": True}),
    "png": ("RGB", "PNG", {}),
    "webp": ("RGB", "WEBP", {}),
    "webp-lossless": ("RGB", "WEBP", {"lossless": True}),
    "avif": ("RGB", "AVIF", {}),
    "gif": ("P", "GIF", {}),
    "tiff-raw": ("RGB", "TIFF", {}),
    "tiff-lzw": ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    "tiff-deflate": ("RGB", "TIFF", {"compression": "tiff_adobe_deflate"}),
    "tiff-packbits": ("RGB", "TIFF", {"compression": "packbits"}),
    "tiff-jpeg": ("RGB", "TIFF", {"compression": "jpeg"}),
    "tiff-group3": ("1", "TIFF", {"compression": "group3"}),
    "tiff-group4": ("1", "TIFF", {"compression": "group4"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_whole_file_is_decoded_and_cut_file_is_broken(
    tmp_path: Path, noise: Image.Image, way: str
) -> None:
    mode, kind, options = WAYS[way]
    whole = saved(noise.convert(mode), kind, **options)
    path = tmp_path / "stranger"
    path.write_bytes(whole)
    assert not decoded(path).damaged
    for percent in (15, 40, 65, 90):
        path.write_bytes(whole[: len(whole) * percent // 100])
        assert refused(path).code == "image-broken", percent


@pytest.mark.parametrize("compression", ["none", "lzw", "deflate", "jpeg", "packbits"])
@pytest.mark.parametrize("tile", [True, False], ids=["tiles", "strips"])
def test_cut_tiff_is_broken_wherever_it_is_cut(
    tmp_path: Path, noise: Image.Image, compression: str, tile: bool
) -> None:
    library = vips(1)
    whole = tmp_path / "whole.tif"
    library.Image.new_from_memory(noise.tobytes(), 96, 64, 3, "uchar").write_to_file(
        str(whole), compression=compression, tile=tile, tile_width=16, tile_height=16
    )
    data = whole.read_bytes()
    assert not decoded(whole).damaged
    path = tmp_path / "stranger"
    for percent in range(5, 100, 10):
        path.write_bytes(data[: len(data) * percent // 100])
        assert refused(path).code == "image-broken", percent


@pytest.mark.parametrize("name", ["tiff-tiled-deflate-cut.tiff", "webp-cut.webp", "avif-cut.avif"])
def test_reported_cut_picture_is_broken(name: str) -> None:
    assert refused(CASES / name).code == "image-broken"


def damaged_jpegs(noise: Image.Image) -> Iterator[bytes]:
    """JPEG files with a marker, with zeros and with ones in the middle of their pixels."""
    whole = saved(noise, "JPEG", restart_marker_rows=1)
    middle = len(whole) // 2
    for wrong in (b"\xff\xc4", bytes(40), b"\xff\xd7" + bytes(60)):
        yield whole[:middle] + wrong + whole[middle + len(wrong) :]


def test_damaged_jpeg_is_broken_although_libjpeg_only_warns(
    tmp_path: Path, noise: Image.Image
) -> None:
    path = tmp_path / "stranger.jpg"
    for content in damaged_jpegs(noise):
        path.write_bytes(content)
        assert refused(path).code == "image-broken"
        assert decoded(path, tolerate_damage=True).damaged


def test_jpeg_with_stray_bytes_in_its_header_is_whole(tmp_path: Path, noise: Image.Image) -> None:
    whole = saved(noise, "JPEG")
    at = whole.index(b"\xff\xdb")
    path = tmp_path / "stranger.jpg"
    path.write_bytes(whole[:at] + b"junk" + whole[at:])
    assert not decoded(path).damaged


@pytest.mark.parametrize("way", ["jpeg", "png", "gif", "tiff-raw"])
def test_damage_is_tolerated_on_demand_and_reported(
    tmp_path: Path, noise: Image.Image, way: str
) -> None:
    mode, kind, options = WAYS[way]
    whole = saved(noise.convert(mode), kind, **options)
    path = tmp_path / "stranger"
    path.write_bytes(whole[: len(whole) * 3 // 4])
    picture = decoded(path, tolerate_damage=True)
    assert picture.damaged
    assert (picture.header.width, picture.header.height) == (96, 64)


def test_upper_part_of_a_cut_picture_is_right_when_damage_is_tolerated(
    tmp_path: Path, noise: Image.Image
) -> None:
    whole = saved(noise, "PNG")
    path = tmp_path / "stranger.png"
    path.write_bytes(whole[: len(whole) // 2])
    picture = opened(path, tolerate_damage=True)
    pixels = picture.decode(lambda: picture.pixels().write_to_memory())
    row = 96 * 3
    assert pixels[: 20 * row] == noise.tobytes()[: 20 * row]
    assert picture.damaged


def tiff(*, compression: int, tags: dict[int, tuple[int, ...]] | None = None) -> bytes:
    """A little-endian TIFF file of 16 x 16 grey pixels in one strip of zeros."""
    fields: dict[int, tuple[int, ...]] = {
        256: (16,),
        257: (16,),
        258: (8,),
        259: (compression,),
        262: (1,),
        273: (8,),
        277: (1,),
        278: (16,),
        279: (256,),
    } | (tags or {})
    fields = {tag: values for tag, values in sorted(fields.items()) if values}
    pixels = bytes(256)
    directory = struct.pack("<H", len(fields))
    extra_at = 8 + len(pixels) + 2 + 12 * len(fields) + 4
    extra = b""
    for tag, values in fields.items():
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            place = struct.pack("<I", extra_at + len(extra))
            extra += packed
        else:
            place = packed
        directory += struct.pack("<HHI", tag, 4, len(values)) + place
    header = b"II*\0" + struct.pack("<I", 8 + len(pixels))
    return header + pixels + directory + bytes(4) + extra


def test_written_tiff_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "stranger.tif"
    path.write_bytes(tiff(compression=1))
    with Image.open(path) as image:
        assert image.getextrema() == (0, 0)
    assert not decoded(path).damaged


PLANAR_TILES = {
    258: (8, 8, 8),
    262: (2,),
    277: (3,),
    284: (2,),
    322: (16,),
    323: (16,),
    324: (8, 8, 8),
    325: (256, 256, 256),
    273: (),
    278: (),
    279: (),
}
UNSUPPORTED = {
    "old JPEG": tiff(compression=6),
    "LZMA": tiff(compression=34925),
    "LERC": tiff(compression=34887),
    "JBIG": tiff(compression=34661),
    "an unknown compression": tiff(compression=60_001),
    "planar tiles": tiff(compression=1, tags=PLANAR_TILES),
    "12 bits": tiff(compression=1, tags={258: (12,)}),
}


@pytest.mark.parametrize("tolerate_damage", [False, True])
@pytest.mark.parametrize("what", UNSUPPORTED)
def test_tiff_that_cannot_be_decoded_here_is_unsupported_not_damaged(
    tmp_path: Path, what: str, tolerate_damage: bool
) -> None:
    path = tmp_path / "stranger.tif"
    path.write_bytes(UNSUPPORTED[what])
    error = refused(path, tolerate_damage=tolerate_damage)
    assert error.code == "image-unsupported"
    assert "damaged" not in error.detail


def test_tiff_with_a_bad_pointer_behind_its_last_page_is_whole(
    tmp_path: Path, noise: Image.Image
) -> None:
    data = bytearray(saved(noise, "TIFF"))
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    struct.pack_into("<I", data, directory + 2 + 12 * count, len(data) - 40)
    path = tmp_path / "stranger.tif"
    path.write_bytes(data)
    assert not decoded(path).damaged


def test_heic_is_decoded(tmp_path: Path) -> None:
    import pi_heif

    picture = opened(CASES / "phone.heic")
    assert (picture.header.format, picture.header.width, picture.header.height) == ("heif", 64, 48)
    pixels = picture.decode(lambda: picture.pixels().write_to_memory())
    assert pixels == bytes(pi_heif.open_heif(CASES / "phone.heic").data)


def test_cut_or_damaged_heic_is_broken(tmp_path: Path) -> None:
    whole = (CASES / "phone.heic").read_bytes()
    path = tmp_path / "stranger.heic"
    for size in (40, 300, 480, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert refused(path).code == "image-broken", size
    path.write_bytes(whole[:420] + bytes(byte ^ 0x55 for byte in whole[420:]))
    assert refused(path).code == "image-broken"


def declaring(width: int, height: int) -> bytes:
    """The HEIC case with another size of its coded picture, of which it shows a part."""
    whole = (CASES / "phone.heic").read_bytes()
    at = whole.index(b"ispe") + 8
    return whole[:at] + struct.pack(">II", width, height) + whole[at + 8 :]


def test_heic_is_refused_by_the_size_in_its_header(tmp_path: Path) -> None:
    path = tmp_path / "stranger.heic"
    path.write_bytes(declaring(20_000, 20_000))
    with pytest.raises(JobError, match="20000 x 20000") as caught:
        opened(path)
    assert caught.value.code == "image-too-large"
    path.write_bytes(declaring(640, 480))  # a lie, found out while it is decoded
    assert refused(path).code == "image-broken"


def test_heic_without_a_width_is_broken(tmp_path: Path) -> None:
    """Its clean aperture, the part to be shown, is 0 pixels wide."""
    whole = bytearray((CASES / "phone.heic").read_bytes())
    at = whole.index(b"clap") + 4
    whole[at : at + 4] = bytes(4)
    path = tmp_path / "stranger.heic"
    path.write_bytes(whole)
    with pytest.raises(JobError) as caught:
        opened(path)
    assert caught.value.code == "image-broken"


def test_heif_with_a_codec_that_is_not_built_in_is_unsupported(tmp_path: Path) -> None:
    whole = (CASES / "phone.heic").read_bytes()
    path = tmp_path / "stranger.heic"
    path.write_bytes(whole.replace(b"hvc1", b"vvc1").replace(b"hvcC", b"vvcC"))
    assert refused(path).code == "image-unsupported"


def test_avif_in_a_container_without_its_brand_is_decoded(
    tmp_path: Path, noise: Image.Image
) -> None:
    path = tmp_path / "stranger.heif"
    path.write_bytes(saved(noise, "AVIF").replace(b"avif", b"mif1"))
    assert not decoded(path).damaged


def test_first_picture_of_an_avif_animation_is_decoded(tmp_path: Path, noise: Image.Image) -> None:
    path = tmp_path / "animation.avif"
    smooth = noise.resize((6, 4)).resize((96, 64))
    smooth.save(path, save_all=True, append_images=[smooth.rotate(180)], duration=100, quality=95)
    assert path.read_bytes()[8:12] == b"avis"
    picture = opened(path)
    pixels = picture.decode(lambda: picture.pixels().write_to_memory())
    with Image.open(path) as image:
        expected = image.convert("RGB").tobytes()
    assert sum(abs(a - b) for a, b in zip(bytes(pixels), expected, strict=True)) < 3 * len(expected)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert refused(path).code == "image-broken"


@pytest.mark.parametrize("brand", [b"mp42", b"qt  ", b"M4A ", b"crx "])
def test_video_is_unsupported_and_not_damaged(tmp_path: Path, brand: bytes) -> None:
    path = tmp_path / "stranger.heic"
    path.write_bytes(struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"isommp42" + bytes(99))
    error = refused(path)
    assert error.code == "image-unsupported"
    assert "HEIC" in error.detail


@pytest.mark.parametrize("page", [0, 1, 2])
def test_page_of_a_tiff_has_its_own_size_and_pixels(tmp_path: Path, page: int) -> None:
    path = tmp_path / "pages.tif"
    pages = [Image.new("RGB", (40 + 10 * n, 30), (50 * n, 90, 200)) for n in range(3)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    picture = opened(path, page=page)
    assert (picture.header.width, picture.header.pages) == (40 + 10 * page, 3)
    pixels = picture.decode(lambda: picture.pixels().write_to_memory())
    assert pixels == pages[page].tobytes()
    reduced = picture.decode(lambda: picture.reduced(20, 20).getpoint(3, 3))
    assert reduced == [50 * page, 90, 200]


def test_damage_on_another_page_does_not_affect_this_one(tmp_path: Path) -> None:
    """The second page's pixels lie at the end of the file, and are cut off."""
    path = tmp_path / "pages.tif"
    pages = [Image.effect_noise((64, 64), 60) for _ in range(2)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 100])
    with Image.open(path) as image:
        image.seek(1)
        with pytest.raises(OSError, match=r"truncated"):
            image.load()
    assert not decoded(path).damaged


def test_warnings_about_a_picture_do_not_reach_the_workers_log(
    tmp_path: Path, noise: Image.Image
) -> None:
    heard: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    path = tmp_path / "stranger.jpg"
    path.write_bytes(next(damaged_jpegs(noise)))
    listener = Listener()
    logging.getLogger().addHandler(listener)
    try:
        refused(path)
    finally:
        logging.getLogger().removeHandler(listener)
    assert heard == []
