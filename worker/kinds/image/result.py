"""The result of `image.transform`."""

from typing import Annotated

from pydantic import BaseModel, Field

from app.jobs import FileId
from worker.kinds.image.options import Format


class SourcePicture(BaseModel):
    """The source picture; width and height are those after its EXIF orientation."""

    format: str
    width: int
    height: int
    pages: Annotated[
        int, Field(description="Pages of a TIFF file, or frames of a GIF or WebP file.")
    ] = 1
    damaged: Annotated[
        bool,
        Field(
            description="Whether pixels of the source are missing or wrong, which "
            "`tolerate_damage` allowed."
        ),
    ] = False


class RenditionFile(BaseModel):
    name: str
    file: FileId
    format: Format
    width: int
    height: int
    bytes: int
    page: Annotated[int, Field(description="Page of the source, from 1.")] = 1
    damaged: Annotated[
        bool, Field(description="Whether pixels of this page of the source are missing or wrong.")
    ] = False
    frames: Annotated[
        int,
        Field(
            description="Frames of an animation, or 1. Equal frames in a row are stored as one, "
            "which is shown for the sum of their times."
        ),
    ] = 1
    quality: Annotated[
        int | None, Field(description="Quality that a lossy format was saved with.")
    ] = None
    blurhash: Annotated[
        str | None,
        Field(description="BlurHash of the rendition, if `placeholder` asked for it."),
    ] = None
    dominant_colour: Annotated[
        str | None,
        Field(
            description="The most frequent colour of the rendition, `#rrggbb`, if `placeholder` "
            "asked for it."
        ),
    ] = None


class ImageTransformed(BaseModel):
    source: SourcePicture
    renditions: list[RenditionFile]
