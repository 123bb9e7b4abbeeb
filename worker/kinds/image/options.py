"""The specification of `image.transform`."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from app.jobs import EXAMPLE_FILE, FileId, JobOptions

Format = Literal["jpeg", "png", "webp", "avif", "gif"]

LOSSY = ("jpeg", "webp", "avif")
ANIMATED = ("gif", "webp")
OPAQUE = ("jpeg",)
# Least and most effort on each encoder's own scale.
EFFORT: dict[str, tuple[int, int]] = {"webp": (0, 6), "avif": (0, 9), "gif": (1, 10)}
MAX_SIDE = 16_383  # WebP's limit, the smallest of the five
MAX_PAGES = 100

Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Crop(JobOptions):
    """A rectangle in pixels of the source as people see it: after its EXIF orientation."""

    left: Annotated[int, Field(ge=0, le=65_500)]
    top: Annotated[int, Field(ge=0, le=65_500)]
    width: Annotated[int, Field(ge=1, le=65_500)]
    height: Annotated[int, Field(ge=1, le=65_500)]


class FocalPoint(JobOptions):
    """A point of the source as people see it (of the crop, if there is one)."""

    x: Annotated[Fraction, Field(description="From the left edge, 0, to the right edge, 1.")]
    y: Annotated[Fraction, Field(description="From the top edge, 0, to the bottom edge, 1.")]


class Watermark(JobOptions):
    """A second picture that is laid over a rendition."""

    file: FileId
    position: Annotated[
        Literal[
            "centre",
            "top",
            "bottom",
            "left",
            "right",
            "top-left",
            "top-right",
            "bottom-left",
            "bottom-right",
            "tile",
        ],
        Field(description="The place of the watermark. `tile` repeats it over the rendition."),
    ] = "bottom-right"
    opacity: Annotated[
        float, Field(gt=0, le=1, description="From 0, invisible, to 1, as opaque as its file.")
    ] = 1
    scale: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="The largest share of the rendition's width and of its height that the "
            "watermark takes. It keeps its proportions.",
        ),
    ] = 0.25
    margin: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_SIDE,
            description="Distance from the rendition's edges in pixels; between tiles, too.",
        ),
    ] = 0


class Rendition(JobOptions):
    name: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
            description="A name that is unique in the job. The output file is called `name.jpg` "
            "or the like, or `name-3.jpg` for page 3 where `pages` asks for more than the first.",
        ),
    ]
    format: Format
    width: Side | None = None
    height: Side | None = None
    fit: Annotated[
        Literal["contain", "cover", "fill", "pad"],
        Field(
            description="Way of fitting the picture into width x height. `contain`: the whole "
            "picture inside them. `cover`: both are filled, and the rest of the picture is cut "
            "off. `fill`: the picture is stretched. `pad`: the whole picture inside them, on a "
            "background that fills the rest. All but `contain` need both sides, and give "
            "exactly that size."
        ),
    ] = "contain"
    focus: Annotated[
        Literal["centre", "attention", "entropy"] | FocalPoint,
        Field(
            description="Part of the picture that `cover` keeps (no other `fit` uses it): the "
            "centre, the part that draws attention (skin, bright colours, edges), the part with "
            "the most detail, or the surroundings of a point."
        ),
    ] = "centre"
    enlarge: Annotated[
        bool | None,
        Field(
            description="Whether a picture that is smaller than the size asked for is enlarged. "
            "By default `cover` and `fill` enlarge it, and `contain` and `pad` do not. With "
            "`false`, `cover` and `fill` give a smaller rendition if the picture is smaller."
        ),
    ] = None
    crop: Annotated[
        Crop | None, Field(description="A part of the picture that is cut out first.")
    ] = None
    rotate: Annotated[
        Literal[0, 90, 180, 270],
        Field(
            description="Degrees clockwise, on top of the EXIF orientation. The rotation comes "
            "after the resize; width and height are those of the turned rendition."
        ),
    ] = 0
    blur: Annotated[
        float | None,
        Field(
            ge=0.3,
            le=100,
            description="Radius (sigma) of a Gaussian blur in pixels of the rendition.",
        ),
    ] = None
    sharpen: Annotated[
        float | None,
        Field(
            ge=0.3,
            le=10,
            description="Radius (sigma) of a sharpening in pixels of the rendition: 0.5 suits "
            "a picture that was reduced.",
        ),
    ] = None
    watermark: Annotated[
        Watermark | None, Field(description="A picture that is laid over the rendition.")
    ] = None
    animated: Annotated[
        bool,
        Field(
            description="Whether all frames of an animated GIF or WebP file are kept, at most "
            "1,000 of them and 60 megapixels altogether. The format must be GIF or WebP, too. "
            "Otherwise the rendition shows the first frame."
        ),
    ] = False
    quality: Annotated[
        int | None,
        Field(
            ge=1,
            le=100,
            description="Quality of the lossy formats. By default JPEG has 82, WebP 80, AVIF 55.",
        ),
    ] = None
    max_bytes: Annotated[
        int | None,
        Field(
            ge=100,
            description="The largest size of the output file in bytes, for JPEG, WebP and AVIF. "
            "The quality is lowered until the file fits; the result holds the quality.",
        ),
    ] = None
    effort: Annotated[
        int | None,
        Field(
            ge=0,
            le=10,
            description="Effort of the encoder: more takes longer and gives smaller files. "
            "WebP has 0 to 6 (default 4), AVIF 0 to 9 (default 2), GIF 1 to 10 (default 7).",
        ),
    ] = None
    background: Annotated[
        str,
        Field(
            pattern=r"^#[0-9a-fA-F]{6}([0-9a-fA-F]{2})?$",
            description="Colour behind transparent parts in a JPEG, and round the picture with "
            "`pad`: `#rrggbb`, or `#rrggbbaa` for a background of `pad` that is transparent.",
        ),
    ] = "#ffffff"

    @property
    def name_of_format(self) -> str:
        return {"jpeg": "JPEG", "png": "PNG", "webp": "WebP", "avif": "AVIF", "gif": "GIF"}[
            self.format
        ]

    @model_validator(mode="after")
    def consistent(self) -> Self:
        if self.fit != "contain" and (self.width is None or self.height is None):
            raise ValueError(f"fit {self.fit!r} needs both width and height")
        if self.fit != "cover" and isinstance(self.focus, FocalPoint):
            raise ValueError("a focal point needs fit 'cover'")
        if self.format not in LOSSY:
            for field in ("quality", "max_bytes"):
                if getattr(self, field) is not None:
                    raise ValueError(
                        f"{self.name_of_format} has no quality setting: leave {field} out"
                    )
        if self.animated and self.format not in ANIMATED:
            raise ValueError(f"{self.name_of_format} can't be animated: use gif or webp")
        if self.effort is not None:
            self._check_effort(self.effort)
        return self

    def _check_effort(self, effort: int) -> None:
        if self.format not in EFFORT:
            raise ValueError(f"{self.name_of_format} has no effort setting: leave effort out")
        least, most = EFFORT[self.format]
        if not least <= effort <= most:
            raise ValueError(f"effort must be {least} to {most} for {self.name_of_format}")


def _unique_names(renditions: list[Rendition]) -> list[Rendition]:
    names = [rendition.name for rendition in renditions]
    if len(set(names)) != len(names):
        raise ValueError("two renditions have the same name: give each a name of its own")
    return renditions


def _unique_pages(pages: str | list[int]) -> str | list[int]:
    if isinstance(pages, list) and len(set(pages)) != len(pages):
        raise ValueError("pages lists a page twice: name each once")
    return pages


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
    pages: Annotated[
        Literal["first", "all"]
        | Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=MAX_PAGES)],
        Field(
            description="The pages of a TIFF file, or frames of a GIF or WebP file, that are "
            f"rendered, each to files of its own: the first, all (at most {MAX_PAGES}), or a list "
            "of page numbers from 1."
        ),
        AfterValidator(_unique_pages),
    ] = "first"
    metadata: Annotated[
        Literal["strip", "keep"],
        Field(
            description="Whether EXIF, XMP and IPTC metadata is kept, which may hold a place and "
            "the camera's owner. Thumbnails and the camera maker's notes, which may show the "
            "picture before it was cropped, are never kept."
        ),
    ] = "strip"
    placeholder: Annotated[
        bool,
        Field(
            description="Add the BlurHash and the dominant colour of each rendition to the "
            "result, to be shown until the rendition is loaded."
        ),
    ] = False
    tolerate_damage: Annotated[
        bool,
        Field(
            description="Render what can be read of a picture that is damaged or cut short, "
            "instead of failing with `image-broken`. The result says whether it was damaged."
        ),
    ] = False

    @model_validator(mode="after")
    def consistent(self) -> Self:
        if self.pages != "first" and any(rendition.animated for rendition in self.renditions):
            raise ValueError("an animated rendition shows all frames: leave pages out")
        return self
