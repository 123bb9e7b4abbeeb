"""`image.transform`: one picture in, a set of renditions out."""

from threading import Event
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.jobs import EXAMPLE_FILE, FileId, JobContext, JobError, JobOptions, job_kind
from worker.kinds.pictures import MAX_PIXELS, Header, Picture, open_picture, vips
from worker.kinds.watch import watched

Format = Literal["jpeg", "png", "webp", "avif"]

EXTENSION: dict[Format, str] = {"jpeg": "jpg", "png": "png", "webp": "webp", "avif": "avif"}
LABEL: dict[Format, str] = {"jpeg": "JPEG", "png": "PNG", "webp": "WebP", "avif": "AVIF"}
QUALITY: dict[Format, int] = {"jpeg": 82, "webp": 80, "avif": 55}
# Beyond quality. AVIF: effort 4, the default, took 5 times as long for 5 % fewer bytes.
SAVE: dict[Format, dict[str, object]] = {
    "jpeg": {"optimize_coding": True},
    "png": {},
    "webp": {},
    "avif": {"effort": 2},
}
MAX_SIDE = 16_383  # WebP's limit, the smallest of the four
UNBOUNDED = 10_000_000  # libvips' largest coordinate: "as high as it gets"

Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


class Crop(JobOptions):
    """A rectangle in pixels of the source as people see it: after its EXIF orientation."""

    left: Annotated[int, Field(ge=0, le=65_500)]
    top: Annotated[int, Field(ge=0, le=65_500)]
    width: Annotated[int, Field(ge=1, le=65_500)]
    height: Annotated[int, Field(ge=1, le=65_500)]


class Rendition(JobOptions):
    name: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
            description="Unique in the job; the output file is called `name.jpg` or the like.",
        ),
    ]
    format: Format
    width: Side | None = None
    height: Side | None = None
    fit: Annotated[
        Literal["contain", "cover", "fill"],
        Field(
            description="contain: the whole picture inside width x height. cover: fill them and "
            "cut off what sticks out. fill: stretch. The last two want both sides."
        ),
    ] = "contain"
    focus: Annotated[
        Literal["centre", "attention", "entropy"],
        Field(description="Which part `cover` keeps: attention looks for faces and colour."),
    ] = "centre"
    enlarge: Annotated[
        bool, Field(description="Let a picture grow that is smaller than what is asked for.")
    ] = False
    crop: Annotated[Crop | None, Field(description="Cut this out first.")] = None
    rotate: Annotated[
        Literal[0, 90, 180, 270],
        Field(description="Degrees clockwise, on top of the EXIF orientation; done last."),
    ] = 0
    quality: Annotated[
        int | None,
        Field(ge=1, le=100, description="Of the lossy formats: JPEG 82, WebP 80, AVIF 55."),
    ] = None
    background: Annotated[
        str,
        Field(pattern=r"^#[0-9a-fA-F]{6}$", description="Behind what is transparent, in a JPEG."),
    ] = "#ffffff"

    @model_validator(mode="after")
    def consistent(self) -> Self:
        if self.fit != "contain" and (self.width is None or self.height is None):
            raise ValueError(f"fit {self.fit!r} needs both width and height")
        if self.quality is not None and self.format == "png":
            raise ValueError("PNG is lossless and has no quality: leave it out")
        return self


def _unique_names(renditions: list[Rendition]) -> list[Rendition]:
    names = [rendition.name for rendition in renditions]
    if len(set(names)) != len(names):
        raise ValueError("every rendition needs a name of its own")
    return renditions


class ImageTransform(JobOptions):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "source": EXAMPLE_FILE,
                    "renditions": [
                        {"name": "thumbnail", "format": "webp", "width": 256, "height": 256}
                    ],
                }
            ]
        }
    )

    source: FileId
    renditions: Annotated[
        list[Rendition], Field(min_length=1, max_length=16), AfterValidator(_unique_names)
    ]
    metadata: Annotated[
        Literal["strip", "keep"],
        Field(description="EXIF, XMP and IPTC, which may hold a place and a camera's owner."),
    ] = "strip"


class SourcePicture(BaseModel):
    """Width and height are as people see it: after its EXIF orientation."""

    format: str
    width: int
    height: int


class RenditionFile(BaseModel):
    name: str
    file: FileId
    format: Format
    width: int
    height: int
    bytes: int


class ImageTransformed(BaseModel):
    source: SourcePicture
    renditions: list[RenditionFile]


@job_kind("image.transform", pool="cpu", timeout=120)
def transform(spec: ImageTransform, job: JobContext) -> ImageTransformed:
    """Resize, crop, rotate and convert a picture.

    Makes all the renditions asked for in one job: JPEG, PNG, WebP or AVIF, each with its own size
    and quality, in sRGB and turned upright by the source's EXIF orientation. The source is a
    JPEG, PNG, WebP, AVIF, HEIC, TIFF or GIF file (of several pages or frames the first).
    Fails with `image-unsupported`, `image-too-large`, `image-broken`, `crop-outside` or
    `rendition-too-large`.
    """
    job.progress(0, "reading the picture")
    library = vips(job.threads)
    picture = open_picture(library, job.input(spec.source))
    header = picture.header
    for rendition in spec.renditions:
        _check(rendition, header)
    done = [_render(picture, spec, index, job) for index in range(len(spec.renditions))]
    job.progress(1, "done")
    source = SourcePicture(format=header.format, width=header.width, height=header.height)
    return ImageTransformed(source=source, renditions=done)


def _check(rendition: Rendition, header: Header) -> None:
    crop = rendition.crop
    if crop and (crop.left + crop.width > header.width or crop.top + crop.height > header.height):
        raise JobError(
            "crop-outside",
            f"Rendition {rendition.name}: the crop reaches outside the picture, which is "
            f"{header.width} x {header.height} pixels.",
        )


def _render(picture: Picture, spec: ImageTransform, index: int, job: JobContext) -> RenditionFile:
    rendition = spec.renditions[index]
    count = len(spec.renditions)
    message = f"rendition {index + 1} of {count}: {rendition.name}, {LABEL[rendition.format]}"
    job.progress(index / count, message)
    name = f"{rendition.name}.{EXTENSION[rendition.format]}"
    target = job.scratch / f"rendition-{index}.{EXTENSION[rendition.format]}"
    percent = 0

    def work(stop: Event) -> tuple[int, int]:
        def on_eval(image: Any, progress: Any) -> None:
            nonlocal percent
            percent = progress.percent
            if stop.is_set():
                image.set_kill(True)

        # Signals before the further steps, which inherit them. Both names live to the end: pyvips
        # frees `on_eval` with the object it was connected to, and libvips then aborts the process.
        resized = _resized(picture, rendition)
        resized.set_progress(True)
        resized.signal_connect("eval", on_eval)
        image = _finished(resized, rendition)
        image.write_to_file(str(target), **_save_options(rendition, spec.metadata))
        return image.width, image.height

    def watch() -> None:
        job.progress((index + percent / 100) / count, message)

    width, height = picture.decode(lambda: watched(work, watch))
    file = job.output(target, name=name, content_type=f"image/{rendition.format}")
    return RenditionFile(
        name=rendition.name,
        file=file,
        format=rendition.format,
        width=width,
        height=height,
        bytes=target.stat().st_size,
    )


def _resized(picture: Picture, rendition: Rendition) -> Any:
    """What is to be computed; libvips computes it in strips while it is being saved."""
    if crop := rendition.crop:
        image = picture.pixels().crop(crop.left, crop.top, crop.width, crop.height)
        width, height, options = _box(rendition, crop.width, crop.height)
        image = image.thumbnail_image(width, height=height, **options)
    else:
        header = picture.header
        width, height, options = _box(rendition, header.width, header.height)
        image = picture.reduced(width, height, **options)
    if max(image.width, image.height) > MAX_SIDE or image.width * image.height > MAX_PIXELS:
        raise JobError(
            "rendition-too-large",
            f"Rendition {rendition.name} would have {image.width} x {image.height} pixels: at "
            f"most {MAX_SIDE:,} a side and {MAX_PIXELS:,} altogether are made. Give it a width "
            "and a height.",
        )
    return image


def _finished(image: Any, rendition: Rendition) -> Any:
    if rendition.rotate:
        # Only the resized picture is held whole, to be read in another order.
        image = image.copy_memory().rot(f"d{rendition.rotate}")
    if rendition.format == "jpeg" and image.hasalpha():
        colour = bytes.fromhex(rendition.background.removeprefix("#"))
        image = image.flatten(background=list(colour))
    return image


def _box(
    rendition: Rendition, source_width: int, source_height: int
) -> tuple[int, int, dict[str, object]]:
    """Width, height and options of the resize; the rotation comes after it, hence the swap."""
    width, height = rendition.width, rendition.height
    if rendition.rotate in (90, 270):
        width, height = height, width
    # sRGB whatever came in: stripped of its profile a wide-gamut picture would look washed out.
    options: dict[str, object] = {"output_profile": "srgb"}
    if rendition.fit == "fill":
        # "force" would enlarge too.
        if not rendition.enlarge:
            width = min(width or source_width, source_width)
            height = min(height or source_height, source_height)
        options["size"] = "force"
    else:
        options["size"] = "both" if rendition.enlarge and (width or height) else "down"
    if rendition.fit == "cover":
        options["crop"] = rendition.focus
    if width is None and height is None:
        width, height = source_width, source_height
    return width or UNBOUNDED, height or UNBOUNDED, options


def _save_options(rendition: Rendition, metadata: str) -> dict[str, object]:
    options = dict(SAVE[rendition.format])
    options["keep"] = "all" if metadata == "keep" else "none"
    if rendition.format in QUALITY:
        options["Q"] = rendition.quality or QUALITY[rendition.format]
    return options
