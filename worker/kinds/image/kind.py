"""The job kind `image.transform`."""

from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from app.jobs import JobContext, JobError, job_kind
from worker.kinds.image.options import MAX_PAGES, ImageTransform, Rendition
from worker.kinds.image.placeholder import placeholder
from worker.kinds.image.render import Evaluation, Rendered, render
from worker.kinds.image.result import ImageTransformed, RenditionFile, SourcePicture
from worker.kinds.image.saving import EXTENSION
from worker.kinds.pictures import Header, Picture, open_picture, page_named, vips
from worker.kinds.watch import watched


@job_kind("image.transform", pool="cpu", timeout=120, wait_target=30)
def transform(spec: ImageTransform, job: JobContext) -> ImageTransformed:
    """Resize, crop, rotate and convert a picture.

    Makes all the renditions asked for in one job: JPEG, PNG, WebP, AVIF or GIF, each with its own
    size, quality and effects, in sRGB and turned upright by the source's EXIF orientation. The
    source is a JPEG, PNG, WebP, AVIF, HEIC, TIFF or GIF file. The first page or
    frame is rendered, or those that `pages` and `animated` ask for.
    Fails with `image-unsupported`, `image-too-large`, `image-broken` (each for the source or a
    watermark), `page-missing`, `too-many-pages`, `crop-outside`, `rendition-too-large` or
    `max-bytes-too-small`.
    """
    job.progress(0, "reading the picture")
    work = _Work(spec, job)
    first = open_picture(
        vips(job.threads), job.input(spec.source), tolerate_damage=spec.tolerate_damage
    )
    pages = _pages(spec, first.header)
    pictures = [(page, first if page == 1 else work.opened(first, page)) for page in pages]
    for page, picture in pictures:
        for rendition in spec.renditions:
            _check_crop(rendition, picture.header, page, first.header)
    work.count = len(pages) * len(spec.renditions)
    done = [
        work.rendered(picture, rendition, page)
        for page, picture in pictures
        for rendition in spec.renditions
    ]
    job.progress(1, "done")
    source = SourcePicture(
        format=first.header.format,
        width=first.header.width,
        height=first.header.height,
        pages=first.header.pages,
        damaged=any(picture.damaged for _, picture in pictures),
    )
    return ImageTransformed(source=source, renditions=done)


def _pages(spec: ImageTransform, header: Header) -> list[int]:
    """The numbers of the pages to render, from 1."""
    if spec.pages == "first":
        return [1]
    if spec.pages == "all":
        if header.pages > MAX_PAGES:
            raise JobError(
                "too-many-pages",
                f"The picture has {header.pages:,} pages: at most {MAX_PAGES} are rendered in one "
                "job. Ask for some of them by a list of page numbers.",
            )
        return list(range(1, header.pages + 1))
    missing = [page for page in spec.pages if page > header.pages]
    if missing:
        raise JobError(
            "page-missing",
            f"The picture has no page {missing[0]:,}: its pages are 1 to {header.pages:,}.",
        )
    return list(spec.pages)


def _check_crop(rendition: Rendition, header: Header, page: int, first: Header) -> None:
    crop = rendition.crop
    if crop and (crop.left + crop.width > header.width or crop.top + crop.height > header.height):
        which = f"page {page} of the picture" if first.pages > 1 and page > 1 else "the picture"
        raise JobError(
            "crop-outside",
            f"Rendition {rendition.name}: the crop reaches outside {which}, which is "
            f"{header.width} x {header.height} pixels.",
        )


@dataclass
class _Work:
    """The state of one job: the number of finished renditions, and the watermarks fetched."""

    spec: ImageTransform
    job: JobContext
    count: int = 1
    done: int = 0
    watermarks: dict[Any, Path] = field(default_factory=dict)

    def opened(self, first: Picture, page: int) -> Picture:
        self.job.check()
        with page_named(page, first.header):
            return open_picture(
                first.library, first.path, page - 1, tolerate_damage=self.spec.tolerate_damage
            )

    def rendered(self, picture: Picture, rendition: Rendition, page: int) -> RenditionFile:
        extension = EXTENSION[rendition.format]
        name = rendition.name if self.spec.pages == "first" else f"{rendition.name}-{page}"
        message = f"rendition {self.done + 1} of {self.count}: {name}, {rendition.name_of_format}"
        self.job.progress(self.done / self.count, message)
        target = self.job.scratch / f"rendition-{self.done}.{extension}"
        watermark = self._watermark(rendition)
        evaluation = Evaluation()

        def watch() -> None:
            self.job.progress((self.done + evaluation.percent / 100) / self.count, message)

        def work(stop: Event) -> Rendered:
            return picture.decode(
                lambda: render(
                    picture,
                    rendition,
                    target,
                    watermark=watermark,
                    keep_metadata=self.spec.metadata == "keep",
                    evaluation=evaluation.until(stop),
                ),
                stop,
            )

        with page_named(page, picture.header):
            rendered = watched(work, watch)
        hash_, colour = None, None
        if self.spec.placeholder:
            hash_, colour = placeholder(picture.library, target, rendition.background)
        file = self.job.output(
            target, name=f"{name}.{extension}", content_type=f"image/{rendition.format}"
        )
        self.done += 1
        return RenditionFile(
            name=rendition.name,
            file=file,
            format=rendition.format,
            width=rendered.width,
            height=rendered.height,
            bytes=target.stat().st_size,
            page=page,
            damaged=picture.damaged,
            frames=rendered.frames,
            quality=rendered.quality,
            blurhash=hash_,
            dominant_colour=colour,
        )

    def _watermark(self, rendition: Rendition) -> Path | None:
        if rendition.watermark is None:
            return None
        file = rendition.watermark.file
        if file not in self.watermarks:
            self.watermarks[file] = self.job.input(file)
        return self.watermarks[file]
