"""`text.extract`: the text in a picture, line by line."""

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.jobs import EXAMPLE_FILE, FileId, JobContext, JobError, JobOptions, job_kind
from worker.kinds.pictures import Header, Picture, open_picture, vips

if TYPE_CHECKING:
    import numpy

    Pixels = numpy.ndarray[Any, numpy.dtype[numpy.uint8]]

# Two of the models that lie inside rapidocr's wheel. Named by path: asked for by name, rapidocr
# downloads a model whose checksum is not what it expects. The third, which says whether a line is
# upside down, is wrong about long ones: 4 of the first 6 of a clean page, at 0.92 to 0.99.
MODELS = {"Det": "PP-OCRv6_det_small.onnx", "Rec": "PP-OCRv6_rec_small.onnx"}
# Upright lines read at 0.93 and up, upside down at 0.59 to 0.78: the recogniser itself knows.
SURE = 0.9
# Lines recognised between two looks at whether the job is still wanted: 0.1 s or so of work.
BATCH = 6
# A result is read whole by whoever asks for a job; the files hold all lines.
INLINE_LINES = 200
# Narrower strips are padded: the detector scales the short side to 736 pixels, whatever the long
# one then becomes (a strip of 30 x 2000 pixels would cost gigabytes).
MAX_ASPECT = 4
MIN_SIDE = 8


class TextExtract(JobOptions):
    model_config = ConfigDict(json_schema_extra={"examples": [{"source": EXAMPLE_FILE}]})

    source: FileId
    resolution: Annotated[
        int,
        Field(
            ge=320,
            le=3000,
            description="The longer side, in pixels, that a larger picture is reduced to before it "
            "is read. More finds smaller print and takes longer: a page of A4 on one thread 13 s "
            "and 1 GB of memory at 2000, 33 s and 1.3 GB at 3000.",
        ),
    ] = 2000
    minimum_confidence: Annotated[
        float, Field(ge=0, le=1, description="Lines that are less certain are left out.")
    ] = 0.5


class Point(BaseModel):
    """In pixels of the source as people see it: after its EXIF orientation."""

    x: float
    y: float


class TextLine(BaseModel):
    text: str
    box: Annotated[
        list[Point],
        Field(
            min_length=4,
            max_length=4,
            description="The corners, clockwise from the line's own top left.",
        ),
    ]
    confidence: Annotated[float, Field(ge=0, le=1)]


class TextLines(BaseModel):
    """The content of the JSON file: every line, in reading order."""

    width: int
    height: int
    lines: list[TextLine]


class TextExtracted(BaseModel):
    """Width and height are the source's as people see it: after its EXIF orientation."""

    width: int
    height: int
    line_count: int
    lines: Annotated[
        list[TextLine], Field(description=f"The first {INLINE_LINES}; the files hold all.")
    ]
    text: Annotated[FileId, Field(description="All lines as UTF-8 text.")]
    details: Annotated[FileId, Field(description="All lines with boxes, as JSON (TextLines).")]


@job_kind("text.extract", pool="cpu", timeout=300)
def extract(spec: TextExtract, job: JobContext) -> TextExtracted:
    """Read the text in a picture (OCR).

    Finds printed lines in a JPEG, PNG, WebP, AVIF, HEIC, TIFF or GIF file (of several pages the
    first) and gives each with its box and confidence, in reading order. One model reads English,
    the other languages of Latin script (Vietnamese excepted), simplified and traditional Chinese
    and Japanese, in one picture too; it knows no Cyrillic, Arabic or Korean.
    Fails with `image-unsupported`, `image-too-large`, `image-too-small` or `image-broken`.
    """
    job.progress(0, "reading the picture")
    library = vips(job.threads)
    picture = open_picture(library, job.input(spec.source))
    header = picture.header
    if min(header.width, header.height) < MIN_SIDE:
        raise JobError(
            "image-too-small",
            f"The picture has {header.width} x {header.height} pixels: text needs at least "
            f"{MIN_SIDE} on each side.",
        )
    pixels = picture.decode(lambda: _pixels(picture, spec.resolution))
    lines = _recognise(pixels, header, spec, job)
    job.progress(1, f"{len(lines)} lines")
    return _result(lines, header, job)


def _pixels(picture: Picture, resolution: int) -> "Pixels":
    """The picture upright, reduced, opaque, in the channel order of OpenCV: blue first."""
    image = picture.reduced(resolution, resolution, size="down", output_profile="srgb")
    if image.hasalpha():
        image = image.flatten(background=[255, 255, 255])
    pixels: Pixels = image.numpy()[:, :, ::-1].copy()
    return pixels


def _recognise(
    pixels: "Pixels", header: Header, spec: TextExtract, job: JobContext
) -> list[TextLine]:
    """Detection in one go, then recognition by batches, so that progress means something."""
    import numpy
    from rapidocr.main import RapidOCRError
    from rapidocr.utils.process_img import map_boxes_to_original

    job.progress(0.05, "loading the models")
    engine = _engine(job.threads)
    job.progress(0.1, "looking for lines of text")
    height, width = pixels.shape[:2]
    prepared, operations = engine.preprocess_img(_padded(pixels))
    try:
        crops, found = engine.detect_and_crop(prepared, operations)
    except RapidOCRError:  # says that there is no text
        return []
    boxes = map_boxes_to_original(found.boxes, operations, height, width)
    boxes *= numpy.array([header.width / width, header.height / height])

    # By shape, as rapidocr does itself: a batch is padded to its widest line.
    order = sorted(range(len(crops)), key=lambda i: crops[i].shape[1] / crops[i].shape[0])
    read: dict[int, tuple[str, float]] = {}
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        job.progress(
            0.3 + 0.7 * start / len(order),
            f"reading lines {start + 1} to {start + len(batch)} of {len(order)}",
        )
        read.update(zip(batch, _read(engine, [crops[index] for index in batch]), strict=True))
    return [
        TextLine(
            text=text.strip(),
            confidence=min(1.0, float(score)),
            box=[Point(x=round(float(x), 1), y=round(float(y), 1)) for x, y in box],
        )
        for box, (text, score) in zip(boxes, (read[i] for i in range(len(crops))), strict=True)
        if text.strip() and score >= spec.minimum_confidence
    ]


def _read(engine: Any, crops: "list[Pixels]") -> list[tuple[str, float]]:
    """Text and confidence of each line, upside down if that is how it reads better."""
    import numpy

    recognised = engine.recognize_txt(crops)
    lines = list(zip(recognised.txts, recognised.scores, strict=True))
    doubtful = [index for index, (_, score) in enumerate(lines) if score < SURE]
    if doubtful:
        turned = [numpy.rot90(crops[index], 2).copy() for index in doubtful]
        again = engine.recognize_txt(turned)
        for index, line in zip(doubtful, zip(again.txts, again.scores, strict=True), strict=True):
            lines[index] = max(lines[index], line, key=lambda read: read[1])
    return lines


def _padded(pixels: "Pixels") -> "Pixels":
    """Widen a narrow strip to the right; rapidocr itself pads what is too flat."""
    import numpy

    height, width = pixels.shape[:2]
    missing = height // MAX_ASPECT - width
    if missing <= 0:
        return pixels
    return numpy.pad(pixels, ((0, 0), (0, missing), (0, 0)), mode="edge")


@lru_cache(maxsize=1)
def _engine(threads: int) -> Any:
    """One engine for a child's life: loading the models takes a second."""
    # Read when onnxruntime is loaded: else it writes a device id into the home and reports usage.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    import cv2
    import rapidocr

    cv2.setNumThreads(threads)
    folder = Path(rapidocr.__file__).parent / "models"
    missing = [name for name in MODELS.values() if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"rapidocr's wheel has no {', '.join(missing)} in {folder}: install the version that "
            "uv.lock names (models are never downloaded)"
        )
    # It takes "as many as there are cores" for a number above that.
    bounded = min(threads, os.cpu_count() or 1)
    parameters: dict[str, object] = {
        "Global.log_level": "warning",
        "Global.max_side_len": 3000,  # reduced already, by `resolution`
        "EngineConfig.onnxruntime.intra_op_num_threads": bounded,
        "EngineConfig.onnxruntime.inter_op_num_threads": bounded,
        "Rec.rec_batch_num": BATCH,
    }
    for stage, name in MODELS.items():
        parameters[f"{stage}.model_path"] = str(folder / name)
    return rapidocr.RapidOCR(params=parameters)


def _result(lines: list[TextLine], header: Header, job: JobContext) -> TextExtracted:
    text = job.scratch / "text.txt"
    text.write_text("".join(f"{line.text}\n" for line in lines), encoding="utf-8")
    details = job.scratch / "lines.json"
    every = TextLines(width=header.width, height=header.height, lines=lines)
    details.write_text(every.model_dump_json(), encoding="utf-8")
    return TextExtracted(
        width=header.width,
        height=header.height,
        line_count=len(lines),
        lines=lines[:INLINE_LINES],
        text=job.output(text, name="text.txt", content_type="text/plain; charset=utf-8"),
        details=job.output(details, name="lines.json", content_type="application/json"),
    )
