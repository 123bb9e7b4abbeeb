"""Finds and reads lines in pixels with the models inside rapidocr's wheel, on onnxruntime."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from worker.kinds.text import strips
from worker.kinds.watch import watched

if TYPE_CHECKING:
    import numpy

    Pixels = numpy.ndarray[Any, numpy.dtype[numpy.uint8]]
    Corners = numpy.ndarray[Any, numpy.dtype[numpy.float32]]

# Two of the models inside rapidocr's wheel, named by path: if asked for by name, rapidocr downloads
# a model whose checksum differs from the expected one. The third, which says whether a line is
# upside down, is wrong about long lines: 4 of the first 6 of a clean page, at 0.92 to 0.99.
MODELS = {"Det": "PP-OCRv6_det_small.onnx", "Rec": "PP-OCRv6_rec_small.onnx"}
# Lines recognised between two checks for cancellation: about 0.1 s of work.
BATCH = 6
# Narrower strips are padded: the detector scales the short side to 736 pixels, whatever the long
# one then becomes (a strip of 30 x 2000 pixels would cost gigabytes).
MAX_ASPECT = 4
# A longer line is read in pieces: the recogniser's memory grows with the length.
MAX_LINE_ASPECT = 100
# Length in line heights that is recognised at once: 0.2 GB of memory.
MAX_BATCH_ASPECT = 120
# Longer pictures are searched for lines in tiles, since the detector's memory grows with the area.
MAX_SIDE = 3000
# Lines that are looked for at most; in a long picture, in each MAX_SIDE of its length.
MAX_LINES = 1000
M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
MARGIN = 4  # pixels round a line that cubic interpolation may need
LARGE_BLOCK, COMMON_BLOCK = 4 << 20, 32 << 20
# In line heights: ink farther from every recognised character has not been read.
REACH = 0.7


@dataclass(frozen=True, slots=True)
class Read:
    """One line as recognised.

    `places` are the middles of the characters along the line, from 0 to 1. `unread` is the share
    of the line's ink (in columns of pixels) that is far from every recognised character.
    """

    text: str
    confidence: float
    places: tuple[float, ...]
    unread: float


class Recogniser:
    def __init__(self, threads: int) -> None:
        engine = _engine(threads)
        self._engine = engine
        self._detector = engine._load_det_model()
        self._reader = engine._load_rec_model()

    def detect(self, pixels: "Pixels", watch: Callable[[], None]) -> "Corners":
        """The corners of each line, clockwise from the top left of the picture: N x 4 x 2.

        `watch` is called ten times a second, and an exception that it raises ends the work.
        """
        import numpy
        from rapidocr.utils.process_img import apply_vertical_padding, map_boxes_to_original

        if max(pixels.shape[:2]) > MAX_SIDE:
            return self._detect_in_tiles(pixels, watch)
        engine = self._engine
        height, width = pixels.shape[:2]
        prepared, operations = engine.preprocess_img(_padded(pixels))
        prepared, operations = apply_vertical_padding(
            prepared, operations, engine.width_height_ratio, engine.min_height
        )
        scores = self._scores(prepared, watch)
        found, _ = self._detector.postprocess_op(scores, prepared.shape[:2])
        if len(found) == 0:
            return numpy.empty((0, 4, 2), numpy.float32)
        boxes: Corners = map_boxes_to_original(
            numpy.asarray(found, numpy.float32), operations, height, width
        )
        return boxes

    def _detect_in_tiles(self, pixels: "Pixels", watch: Callable[[], None]) -> "Corners":
        import numpy

        scores, (across, down) = strips.map_of_text(
            pixels, lambda tile: self._scores(tile, watch)[0, 0]
        )
        height, width = pixels.shape[:2]
        search = self._detector.postprocess_op
        search.max_candidates = MAX_LINES * -(-max(height, width) // MAX_SIDE)
        try:
            found, _ = watched(lambda _: search(scores[None, None], scores.shape), watch)
        finally:
            search.max_candidates = MAX_LINES
        boxes: Corners = numpy.asarray(found, numpy.float32).reshape(-1, 4, 2)
        boxes /= numpy.array([across, down], numpy.float32)
        boxes = boxes.clip(0, numpy.array([width, height], numpy.float32))
        # In the padding beside a strip, nothing is left of a box.
        inside: Corners = boxes[numpy.ptp(boxes, axis=1).min(axis=1) >= 1]
        return inside

    def _scores(self, prepared: "Pixels", watch: Callable[[], None]) -> Any:
        """How likely each pixel is to be part of a line: 1 x 1 x height x width."""
        import onnxruntime

        options = onnxruntime.RunOptions()

        def stopping() -> None:
            try:
                watch()
            except BaseException:
                options.terminate = True  # onnxruntime stops after the layer that it is in
                raise

        def work(_: Event) -> Any:
            model = self._detector.session.session
            scaled = self._detector.get_preprocess()(prepared)
            return model.run(None, {model.get_inputs()[0].name: scaled}, options)[0]

        with _large_blocks_returned():
            return watched(work, stopping)

    def read(self, crops: "Sequence[Pixels]") -> list[Read]:
        """Read a batch of upright lines; at best of a similar shape, since the widest pads all."""
        inks = [_ink(crop) for crop in crops]
        cuts = [
            strips.pieces(ink) if ink.shape[1] > MAX_LINE_ASPECT * ink.shape[0] else []
            for ink in inks
        ]
        whole = self._recognised([crop for crop, cut in zip(crops, cuts, strict=True) if not cut])
        reads = []
        for crop, ink, cut in zip(crops, inks, cuts, strict=True):
            if cut:
                said = self._recognised([crop[:, first:last] for first, last, _ in cut])
                text, confidence, places = strips.joined(said, cut)
            else:
                text, confidence, places = whole.pop(0)
            reads.append(Read(text, confidence, places, _unread(ink, text, places)))
        return reads

    def _recognised(self, crops: "Sequence[Pixels]") -> list[tuple[str, float, tuple[float, ...]]]:
        """Text, confidence and places of each."""
        aspects = [min(crop.shape[1] / crop.shape[0], MAX_LINE_ASPECT) for crop in crops]
        together = max(1, int(MAX_BATCH_ASPECT / max(aspects, default=1)))
        found = []
        for start in range(0, len(crops), together):
            some = slice(start, start + together)
            found += self._run(crops[some], aspects[some])
        return found

    def _run(
        self, crops: "Sequence[Pixels]", aspects: Sequence[float]
    ) -> list[tuple[str, float, tuple[float, ...]]]:
        import numpy

        reader = self._reader
        _, line_height, least = reader.rec_image_shape
        widest = max(least / line_height, *aspects)
        batch = numpy.stack([reader.resize_norm_img(crop, widest) for crop in crops])
        model = reader.session.session
        scores = model.run(None, {model.get_inputs()[0].name: batch})[0]
        return [
            self._decoded(aspect / widest, lines)
            for aspect, lines in zip(aspects, scores, strict=True)
        ]

    def _decoded(self, share: float, scores: Any) -> tuple[str, float, tuple[float, ...]]:
        """Connectionist temporal classification: repeats collapse, class 0 is the gap."""
        import numpy

        classes = scores.argmax(axis=1)
        kept = classes != 0
        kept[1:] &= classes[1:] != classes[:-1]
        steps = numpy.flatnonzero(kept)
        characters = self._reader.postprocess_op.character
        text = "".join(characters[classes[step]] for step in steps)
        # A character may be a pair of code points: each gets the same place.
        places = [
            min(1.0, float((step + 0.5) / (len(classes) * share)))
            for step in steps
            for _ in characters[classes[step]]
        ]
        confidence = float(scores.max(axis=1)[steps].mean()) if len(steps) else 0.0
        start = len(text) - len(text.lstrip())
        text = text.strip()
        places = places[start : start + len(text)]
        return text, min(1.0, confidence), tuple(places)


def _ink(crop: "Pixels") -> Any:
    """Which pixels are drawn: the rarer half of the range between the darkest and the lightest."""
    import numpy

    grey = crop.mean(axis=2)
    low, high = float(grey.min()), float(grey.max())
    if high - low < 24:
        return numpy.zeros(grey.shape, dtype=bool)
    dark = grey < (low + high) / 2
    return dark if dark.mean() <= 0.5 else ~dark


def _unread(ink: Any, text: str, places: Sequence[float]) -> float:
    import numpy

    height, width = ink.shape
    # A rule is thin and has no gaps.
    heights = ink.sum(axis=0)
    if (heights > 0).mean() > 0.95 and heights.max() < 0.3 * height:
        return 0.0
    # Descenders and accents of the neighbouring lines reach into the first and last rows.
    columns = numpy.flatnonzero(ink[height // 5 : height - height // 5].any(axis=0))
    if len(columns) == 0:
        return 0.0
    near = numpy.zeros(width + 1, dtype=bool)
    for character, place in zip(text, places, strict=True):
        if not character.isspace():
            middle = place * width
            near[max(0, int(middle - REACH * height)) : int(middle + REACH * height) + 1] = True
    return float(1 - near[columns].mean())


def turned(corners: "Corners", degrees: int) -> "Corners":
    """The corners of a line from its own top left, if it is upright after a turn clockwise."""
    import numpy

    return numpy.roll(corners, degrees // 90, axis=0)


def cropped(pixels: "Pixels", corners: "Corners") -> "Pixels":
    """The line between four corners, from its own top left, as an upright picture."""
    import cv2
    import numpy

    # OpenCV takes at most 32,767 pixels a side: only what lies round the line.
    left, top = numpy.maximum(corners.min(axis=0).astype(int) - MARGIN, 0)
    right, bottom = corners.max(axis=0).astype(int) + MARGIN + 1
    pixels = pixels[top:bottom, left:right]
    corners = corners - numpy.array([left, top])
    top_left, top_right, bottom_right, bottom_left = corners
    norm = numpy.linalg.norm
    width = max(1, int(max(norm(top_right - top_left), norm(bottom_right - bottom_left))))
    height = max(1, int(max(norm(bottom_left - top_left), norm(bottom_right - top_right))))
    target = numpy.array([[0, 0], [width, 0], [width, height], [0, height]], numpy.float32)
    matrix = cv2.getPerspectiveTransform(numpy.asarray(corners, numpy.float32), target)
    crop: Pixels = cv2.warpPerspective(  # type: ignore[assignment]
        pixels, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE, flags=cv2.INTER_CUBIC
    )
    return crop


def _padded(pixels: "Pixels") -> "Pixels":
    """Widen a narrow strip to the right; rapidocr itself pads a flat one."""
    import numpy

    height, width = pixels.shape[:2]
    missing = height // MAX_ASPECT - width
    if missing <= 0:
        return pixels
    return numpy.pad(pixels, ((0, 0), (0, missing), (0, 0)), mode="edge")


@contextmanager
def _large_blocks_returned() -> Iterator[None]:
    """Make glibc give back large blocks when they are freed, and not keep them for later.

    By default it keeps blocks of up to 32 MiB, for each thread apart: after the detector 500 MiB
    of a page of A4 stayed, and the recogniser's came on top. Recognition itself, with small blocks,
    would take half as long again.
    """
    import ctypes

    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        yield
        return
    libc.mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_THRESHOLD, COMMON_BLOCK)


@lru_cache(maxsize=1)
def _engine(threads: int) -> Any:
    """Load the models, which takes a second, once for a child's life."""
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
    # rapidocr ignores a number above that of the cores.
    bounded = min(threads, os.cpu_count() or 1)
    parameters: dict[str, object] = {
        "Global.log_level": "warning",
        "Global.max_side_len": MAX_SIDE,
        "EngineConfig.onnxruntime.intra_op_num_threads": bounded,
        "EngineConfig.onnxruntime.inter_op_num_threads": bounded,
        "Rec.rec_batch_num": BATCH,
    }
    for stage, name in MODELS.items():
        parameters[f"{stage}.model_path"] = str(folder / name)
    return rapidocr.RapidOCR(params=parameters)
