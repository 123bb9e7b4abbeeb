"""The pictures of two packages of the registry, compared with Pillow's."""

import io
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from app.jobs import JobError
from tests.kinds_builtin.conftest import FolderContext, package
from tests.kinds_builtin.image.rendering import Transform, opened, refused

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".tif", ".tiff", ".gif"}
FOLDERS = {"skimage": "data", "pygame": "."}


def files(name: str) -> list[Path]:
    folder = package(name) / FOLDERS[name]
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def as_people_see_it(path: Path) -> Image.Image:
    """The picture as Pillow decodes it: upright, in sRGB, on white."""
    with Image.open(path) as image:
        profile = image.info.get("icc_profile")
        ImageOps.exif_transpose(image, in_place=True)
        upright: Image.Image = image.copy()
    if upright.mode == "I;16":
        upright = Image.fromarray((numpy.asarray(upright) >> 8).astype(numpy.uint8))
    if profile and upright.mode == "RGB":
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        ImageCms.profileToProfile(upright, source, ImageCms.createProfile("sRGB"), inPlace=True)
    return on_white(upright)


def on_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layer).convert("RGB")


def distance(one: Image.Image, other: Image.Image) -> float:
    difference = numpy.asarray(one).astype(int) - numpy.asarray(other)
    return float(numpy.abs(difference).mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_every_picture_of_a_package_comes_out_as_pillow_sees_it(
    render: Transform, job: FolderContext, name: str
) -> None:
    paths = files(name)
    assert len(paths) > 25
    far = {}
    for path in paths:
        try:
            expected = as_people_see_it(path)
        except UnidentifiedImageError:
            assert path.name == "multipage_rgb.tif"  # ten samples of 64 bits a pixel
            assert refused(render, path).code == "image-unsupported"
            continue
        result = render(path, {}, {"width": 64})
        made = on_white(opened(job, result, 0))
        assert made.size == expected.size, path
        small = on_white(opened(job, result, 1))
        reduced = expected.resize(small.size, Image.Resampling.LANCZOS)
        apart = distance(made, expected), distance(coarse(small), coarse(reduced))
        if apart[0] > 0.5 or apart[1] > 8:
            far[path.name] = apart
    assert far == {}


def coarse(image: Image.Image) -> Image.Image:
    """8 x 8 pixels: two ways to resize fine stripes differ in every single pixel."""
    return image.resize((8, 8), Image.Resampling.BOX)


KINDS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95},
    "PNG": {},
    "WEBP": {"quality": 95},
    "AVIF": {"quality": 90},
    "TIFF": {"compression": "tiff_lzw"},
    "GIF": {},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_cut_picture_of_a_package_is_an_error_or_as_pillow_sees_it(
    render: Transform, job: FolderContext, tmp_path: Path, kind: str
) -> None:
    """A file may be cut behind its last pixel; then, and only then, it succeeds."""
    codes = []
    for number, source in enumerate(files("pygame")):
        with Image.open(source) as image:
            image.thumbnail((200, 200))
            whole = tmp_path / f"{number}-whole"
            image.convert("P" if kind == "GIF" else "RGB").save(whole, kind, **KINDS[kind])
        data = whole.read_bytes()
        expected = as_people_see_it(whole)
        path = tmp_path / f"{number}-cut"
        for part in (0.3, 0.6, 0.9, 0.99):
            path.write_bytes(data[: int(len(data) * part)])
            try:
                result = render(path, {})
            except JobError as error:
                codes.append(error.code)
            else:
                made = on_white(opened(job, result))
                assert distance(made, expected) < 1.5, (source, part)
    assert set(codes) == {"image-broken"}
    assert len(codes) > 200
