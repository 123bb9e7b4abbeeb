"""TIFF pages whose pixels are stored in an unusual way: right colours, or a refusal by name."""

import io
from pathlib import Path
from typing import Any

import numpy
import pytest
import tifffile
from PIL import Image

from app.jobs import JobError
from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.image.rendering import Transform, opened, refused
from worker.kinds.text.picture import PictureSource

Samples = numpy.ndarray[Any, Any]

GREY: Samples = numpy.add.outer(numpy.arange(40), numpy.arange(60)).astype("u1") * 2
RGB: Samples = numpy.dstack([GREY, GREY[::-1], GREY[:, ::-1]])
INKS: Samples = numpy.dstack([RGB, GREY // 4])
NOTHING = numpy.zeros_like(GREY)


def written(path: Path, samples: Samples, **options: Any) -> Path:
    tifffile.imwrite(path, samples, **options)
    return path


def shown(image: Image.Image) -> Samples:
    return numpy.asarray(image.convert("RGB")).astype(int)


FURTHER: dict[str, tuple[list[Samples], str, list[str], Samples]] = {
    "RGB and an empty channel": ([RGB, NOTHING], "rgb", ["unspecified"], RGB),
    "RGB and a mask": ([RGB, GREY], "rgb", ["unspecified"], RGB),
    "RGB and two channels": ([RGB, NOTHING, GREY], "rgb", ["unspecified"] * 2, RGB),
    "RGB and five channels": ([RGB, *[NOTHING] * 5], "rgb", ["unspecified"] * 5, RGB),
    "grey and an empty channel": ([GREY, NOTHING], "minisblack", ["unspecified"], GREY),
    "grey and three channels": ([GREY, RGB], "minisblack", ["unspecified"] * 3, GREY),
}


@pytest.mark.parametrize("layout", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"tile": (16, 16)}])
@pytest.mark.parametrize("what", FURTHER)
def test_channel_without_a_meaning_is_not_shown(
    render: Transform, job: FolderContext, tmp_path: Path, what: str, layout: dict[str, Any]
) -> None:
    bands, photometric, extra, expected = FURTHER[what]
    path = written(
        tmp_path / "further.tif",
        numpy.dstack(bands),
        photometric=photometric,
        extrasamples=extra,
        planarconfig="contig",
        **layout,
    )
    result = render(path, {}, {"format": "jpeg", "quality": 100})
    png = opened(job, result)
    assert png.mode in ("RGB", "L")
    assert (shown(png) == shown(Image.fromarray(expected))).all()
    jpeg = shown(opened(job, result, 1))
    assert abs(jpeg - shown(Image.fromarray(expected))).mean() < 6


def test_channel_without_a_meaning_beside_inks_is_not_shown(
    render: Transform, job: FolderContext, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"photometric": "separated", "planarconfig": "contig"}
    plain = written(tmp_path / "plain.tif", INKS, **options)
    path = written(
        tmp_path / "further.tif",
        numpy.dstack([INKS, NOTHING]),
        extrasamples=["unspecified"],
        **options,
    )
    expected = shown(opened(job, render(plain, {})))
    assert (shown(opened(job, render(path, {}))) == expected).all()


@pytest.mark.parametrize(
    ("bands", "extra"),
    [
        ([RGB, GREY], ["unassalpha"]),
        ([RGB, GREY, NOTHING], ["unassalpha", "unspecified"]),
        ([RGB, NOTHING, GREY], ["unspecified", "unassalpha"]),
    ],
)
def test_transparency_is_kept_wherever_it_is_stored(
    render: Transform, job: FolderContext, tmp_path: Path, bands: list[Samples], extra: list[str]
) -> None:
    path = written(
        tmp_path / "clear.tif", numpy.dstack(bands), photometric="rgb", extrasamples=extra
    )
    image = opened(job, render(path, {}))
    assert image.mode == "RGBA"
    assert (numpy.asarray(image.getchannel("A")) == GREY).all()
    assert (shown(image) == RGB).all()


def test_channel_without_a_meaning_is_not_shown_in_a_watermark(
    render: Transform, job: FolderContext, tmp_path: Path, quarters: Path
) -> None:
    red = numpy.dstack([numpy.full_like(GREY, 255), NOTHING, NOTHING, NOTHING, NOTHING])
    path = written(tmp_path / "mark.tif", red, photometric="rgb", extrasamples=["unspecified"] * 2)
    watermark = {"file": job.give(path), "position": "top-left", "scale": 0.5, "opacity": 1}
    image = opened(job, render(quarters, {"watermark": watermark}))
    assert image.convert("RGB").getpixel((20, 20)) == (255, 0, 0)


def test_channels_are_those_of_the_page_that_is_rendered(
    render: Transform, job: FolderContext, tmp_path: Path
) -> None:
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(RGB, photometric="rgb")
        file.write(numpy.dstack([RGB, NOTHING]), photometric="rgb", extrasamples=["unspecified"])
    result = render(path, {}, pages="all")
    assert (shown(opened(job, result, 1)) == RGB).all()


def ycbcr(**options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RGB).convert("YCbCr").save(buffer, "TIFF", **options)
    return buffer.getvalue()


def stored(samples: Samples, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **options)
    return buffer.getvalue()


REFUSED = {
    "YCbCr": (ycbcr(), "YCbCr"),
    "YCbCr, deflated": (ycbcr(compression="tiff_adobe_deflate"), "YCbCr"),
    "floats from 0 to 1": (stored(GREY.astype("f4") / 255), "floating-point"),
    "short floats": (stored(GREY.astype("f2") / 255), "floating-point"),
    "long floats": (stored(GREY.astype("f8") / 255), "samples out of range"),
    "32 bits": (stored(GREY.astype("u4") << 24), "32 bits"),
    "32 bits, RGB": (stored(RGB.astype("u4") << 24, photometric="rgb"), "32 bits"),
    "signed": (stored(GREY.astype("i2") * 128), "signed"),
    "signed bytes": (stored((GREY // 2).astype("i1")), "signed"),
    "a mosaic of a camera's sensor": (stored(GREY, photometric=32803), "kind 32803"),
    "other inks": (stored(INKS, photometric="separated", extratags=[(332, 3, 1, 2, True)]), "inks"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_page_that_would_be_shown_in_wrong_colours_is_refused(
    render: Transform, tmp_path: Path, what: str
) -> None:
    data, said = REFUSED[what]
    path = tmp_path / "stranger.tif"
    path.write_bytes(data)
    error = refused(render, path)
    assert error.code == "image-unsupported"
    assert said in error.detail


def test_refused_watermark_is_named(
    render: Transform, job: FolderContext, tmp_path: Path, quarters: Path
) -> None:
    path = tmp_path / "mark.tif"
    path.write_bytes(ycbcr())
    with pytest.raises(JobError, match=r"Watermark: .*YCbCr") as caught:
        render(quarters, {"watermark": {"file": job.give(path)}})
    assert caught.value.code == "image-unsupported"


USUAL: dict[str, tuple[Samples, Samples, dict[str, Any]]] = {
    "grey": (GREY, GREY, {}),
    "white is zero": (255 - GREY, GREY, {"photometric": "miniswhite"}),
    "16 bits": (GREY.astype("u2") * 257, GREY, {}),
    "16 bits, RGB": (RGB.astype("u2") * 257, RGB, {"photometric": "rgb"}),
    "planes": (numpy.moveaxis(RGB, -1, 0).copy(), RGB, {"planarconfig": "separate"}),
    "JPEG": (numpy.asarray(Image.new("RGB", (64, 48), (200, 90, 20))),
             numpy.asarray(Image.new("RGB", (64, 48), (200, 90, 20))), {"compression": "jpeg"}),
}  # fmt: skip


@pytest.mark.parametrize("what", USUAL)
def test_usual_page_has_the_same_colours(
    render: Transform, job: FolderContext, tmp_path: Path, what: str
) -> None:
    samples, expected, options = USUAL[what]
    path = tmp_path / "usual.tif"
    if options.get("compression") == "jpeg":
        Image.fromarray(samples).save(path, compression="jpeg", quality=100)
    else:
        tifffile.imwrite(path, samples, **({"photometric": "minisblack"} | options)
                         if samples.ndim == 2 else {"photometric": "rgb"} | options)  # fmt: skip
    wanted = shown(Image.fromarray(expected))
    assert abs(shown(opened(job, render(path, {}))) - wanted).max() <= 3


SMALL = GREY[::2, ::2].copy()


def copies(path: Path, *small: bool) -> Path:
    """A file of pages, or of smaller copies where `small` is true, each in its own directory."""
    with tifffile.TiffWriter(path) as file:
        for number, is_copy in enumerate(small):
            samples = SMALL if is_copy else GREY + number
            file.write(samples, photometric="minisblack", subfiletype=int(is_copy))
    return path


@pytest.mark.parametrize("small", [(False, True), (True, False), (True, False, True, False)])
def test_smaller_copy_in_a_directory_of_its_own_is_not_a_page(
    render: Transform, job: FolderContext, tmp_path: Path, small: tuple[bool, ...]
) -> None:
    whole = [number for number, is_copy in enumerate(small) if not is_copy]
    result = render(copies(tmp_path / "copies.tif", *small), {}, pages="all")
    assert result.source.pages == len(whole)
    for index, number in enumerate(whole):
        assert (shown(opened(job, result, index)) == shown(Image.fromarray(GREY + number))).all()


def test_text_of_a_smaller_copy_is_not_read(tmp_path: Path) -> None:
    source = PictureSource(copies(tmp_path / "copies.tif", False, True, False), threads=1)
    assert len(source) == 2
    assert source.page(2).pixels(600, lambda: None).shape == (*GREY.shape, 3)


def test_file_of_copies_alone_has_them_as_pages(render: Transform, tmp_path: Path) -> None:
    result = render(copies(tmp_path / "copies.tif", True, True), {}, pages="all")
    assert [(made.width, made.height) for made in result.renditions] == [(30, 20)] * 2


@pytest.mark.parametrize(
    "options",
    [
        {"subfiletype": 1, "subifds": 1},
        {"extratags": [(50706, 1, 4, b"\x01\x04\x00\x00", True)]},
    ],
    ids=["thumbnail over a raw picture", "DNG"],
)
def test_thumbnail_of_a_cameras_raw_picture_is_not_rendered(
    render: Transform, tmp_path: Path, options: dict[str, Any]
) -> None:
    path = tmp_path / "raw.dng"
    with tifffile.TiffWriter(path) as file:
        file.write(SMALL, photometric="minisblack", **options)
        if "subifds" in options:
            file.write(GREY, photometric=32803)
    error = refused(render, path)
    assert error.code == "image-unsupported"
    assert "raw" in error.detail
