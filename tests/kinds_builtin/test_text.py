import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import psutil
import pytest
from PIL import Image

from app.jobs import JobCancelled, JobError
from tests.kinds_builtin.conftest import FolderContext
from worker.kinds.text import TextExtract, TextExtracted, TextLine, TextLines, extract

# What skimage's page.png says (its last lines are too faint to be sure of).
SENTENCES = [
    "Region-based segmentation",
    "Let us first determine markers of the coins and the",
    "background. These markers are pixels that we can label",
    "unambiguously as either object or background. Here,",
    "the markers are found at the two extreme parts of the",
]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> NoReturn:
        raise AssertionError(f"dialled out: {args[1:]}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)


def read(job: FolderContext, path: Path, **options: float) -> TextExtracted:
    return extract(TextExtract.model_validate({"source": job.give(path), **options}), job)


def squeezed(text: str) -> str:
    return "".join(text.split())


def line_of(result: TextExtracted, text: str) -> TextLine:
    return next(line for line in result.lines if squeezed(text) in squeezed(line.text))


@pytest.mark.slow
def test_reads_a_scanned_page(job: FolderContext, pictures: Path) -> None:
    result = read(job, pictures / "page.png")

    assert (result.width, result.height) == (384, 191)
    assert result.line_count == len(result.lines) >= len(SENTENCES)
    tops = []
    for sentence in SENTENCES:
        line = line_of(result, sentence)
        assert line.confidence > 0.9
        assert all(0 <= point.x <= 384 and 0 <= point.y <= 191 for point in line.box)
        top_left, top_right, bottom_right, bottom_left = line.box
        assert top_left.x < top_right.x
        assert bottom_left.x < bottom_right.x
        assert top_left.y < bottom_left.y
        tops.append(top_left.y)
    assert tops == sorted(tops)
    # The heading is at the top left, half as wide as the page's text.
    heading = line_of(result, SENTENCES[0]).box
    assert heading[0].x < 15
    assert 270 < heading[1].x < 310
    assert heading[3].y < 45

    text = job.path(result.text).read_text("utf-8")
    assert text.splitlines() == [line.text for line in result.lines]
    details = TextLines.model_validate(json.loads(job.path(result.details).read_bytes()))
    assert details.lines == result.lines
    assert job.outputs[result.text][2].startswith("text/plain")
    assert any(message.startswith("reading lines 1 to 6 of") for _, message in job.told)
    job.assert_monotone()


@pytest.mark.slow
def test_boxes_are_in_the_sources_pixels(
    job: FolderContext, pictures: Path, tmp_path: Path
) -> None:
    """Enlarged by 4, turned on disk with EXIF saying so, and reduced again before it is read."""
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(pictures / "page.png") as image:
        large = image.convert("L").resize((384 * 4, 191 * 4), Image.Resampling.LANCZOS)
        large.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "scan.jpg", exif=exif)
    result = read(job, tmp_path / "scan.jpg", resolution=1000)

    assert (result.width, result.height) == (384 * 4, 191 * 4)
    heading = line_of(result, SENTENCES[0]).box
    assert heading[0].x < 60
    assert 270 * 4 < heading[1].x < 310 * 4
    assert heading[3].y < 45 * 4


@pytest.mark.slow
def test_reads_a_page_that_is_upside_down(
    job: FolderContext, pictures: Path, tmp_path: Path
) -> None:
    with Image.open(pictures / "page.png") as image:
        image.convert("L").rotate(180).save(tmp_path / "down.png")
    result = read(job, tmp_path / "down.png")
    assert line_of(result, "segmentation").confidence > 0.9


@pytest.mark.slow
def test_no_text(job: FolderContext, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "white").save(tmp_path / "white.png")
    result = read(job, tmp_path / "white.png")
    assert (result.line_count, result.lines) == (0, [])
    assert job.path(result.text).read_bytes() == b""


@pytest.mark.slow
def test_a_long_strip_takes_bounded_memory(job: FolderContext, tmp_path: Path) -> None:
    """8 x 3000 pixels: the detector would make 736 x 276,000 of them."""
    Image.new("L", (8, 3000), 255).save(tmp_path / "strip.png")
    before = psutil.Process().memory_info().rss
    assert read(job, tmp_path / "strip.png").lines == []
    assert psutil.Process().memory_info().rss - before < 1_500_000_000


@pytest.mark.slow
def test_cancelled_between_batches(job: FolderContext, pictures: Path) -> None:
    job.cancel_when = lambda fraction, message: message.startswith("reading lines 7")
    with pytest.raises(JobCancelled):
        read(job, pictures / "page.png")
    assert not job.outputs


def test_what_is_no_picture_is_refused(job: FolderContext, tmp_path: Path) -> None:
    for name, content, code in (
        ("words.png", b"no picture at all", "image-unsupported"),
        ("page.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image-unsupported"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(JobError) as caught:
            read(job, tmp_path / name)
        assert caught.value.code == code


def test_a_picture_cut_short_is_refused(job: FolderContext, pictures: Path, tmp_path: Path) -> None:
    whole = (pictures / "rocket.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(JobError) as caught:
        read(job, tmp_path / "half.jpg")
    assert caught.value.code == "image-broken"


def test_a_speck_is_refused(job: FolderContext, tmp_path: Path) -> None:
    Image.new("L", (400, 4)).save(tmp_path / "speck.png")
    with pytest.raises(JobError) as caught:
        read(job, tmp_path / "speck.png")
    assert caught.value.code == "image-too-small"


CLAIMED = {
    "German": "ÄÖÜäöüß",
    "French": "àâæçéèêëîïôœùûüÿÀÉÇ",
    "Spanish": "áéíóúüñÁÉÍÓÚÑ¿",
    "Polish": "ąćęłńóśźżĄĆĘŁŃÓŚŹŻ",
    "Czech": "áčďéěíňóřšťúůýž",
    "Turkish": "çğıİöşüÇĞÖŞÜ",
    "Romanian": "ăâîșțĂÂÎȘȚ",
    "Hungarian": "áéíóöőúüűÁÉÍÓÖŐÚÜŰ",
    "Danish": "æøåÆØÅ",
    "Icelandic": "ðþæöáéíóúýÐÞ",
    "Latvian": "āčēģīķļņšūž",
    "Chinese": "中文简体繁體國語",
    "Japanese": "ひらがなカタカナ日本語",
}


@pytest.mark.slow
def test_the_model_knows_the_letters_of_what_it_claims_to_read() -> None:
    from worker.kinds.text.recognise import _engine

    known = set(_engine(1)._load_rec_model().postprocess_op.character)
    for language, letters in CLAIMED.items():
        assert set(letters) <= known, (language, set(letters) - known)
    # rapidocr lists Vietnamese as well; the model has not its letters.
    for language, letters in {"Vietnamese": "ếệạ", "Russian": "ж", "Korean": "한"}.items():
        assert not set(letters) <= known, language


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_no_telemetry_and_no_download(home: Path) -> None:
    """In a process of its own: onnxruntime starts its telemetry when it is loaded, in C++."""
    code = (
        "import psutil\n"
        "from worker.kinds.text.recognise import _engine\n"
        "engine = _engine(1)\n"
        "import numpy\n"
        "engine.recognize_txt([numpy.full((48, 320, 3), 255, numpy.uint8)])\n"
        "print(psutil.Process().net_connections())\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ORT_")}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == ["[]"], done.stderr
    assert done.stderr == ""  # nor does rapidocr chat
    # Its device id and its store of events, which are there as soon as telemetry is on.
    written = [str(path.relative_to(home)) for path in home.rglob("*")]
    assert not [name for name in written if "onnxruntime" in name], written


def test_models_that_are_missing_are_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.kinds.text import recognise

    monkeypatch.setitem(recognise.MODELS, "Rec", "PP-OCRv9_rec_huge.onnx")
    recognise._engine.cache_clear()
    with pytest.raises(FileNotFoundError, match="never downloaded"):
        recognise._engine(1)
    recognise._engine.cache_clear()
