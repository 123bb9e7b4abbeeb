"""Specifications and results of the version before this kind had pages and effects."""

from pathlib import Path

from app.jobs import EXAMPLE_FILE
from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.image.rendering import Transform, opened
from worker.kinds.image import ImageTransform, ImageTransformed

OLD_RENDITION = {
    "name": "web",
    "format": "jpeg",
    "width": 200,
    "height": 200,
    "fit": "cover",
    "focus": "attention",
    "enlarge": False,
    "crop": None,
    "rotate": 0,
    "quality": None,
    "background": "#ffffff",
}
OLD_RESULT = {
    "source": {"format": "jpeg", "width": 640, "height": 427},
    "renditions": [
        {
            "name": "web",
            "file": EXAMPLE_FILE,
            "format": "jpeg",
            "width": 400,
            "height": 267,
            "bytes": 32_500,
        }
    ],
}


def test_stored_specification_is_read_as_it_was_meant(
    render: Transform, job: FolderContext, quarters: Path
) -> None:
    """A job that waits while the workers are upgraded has all the fields, with `enlarge` false."""
    spec = {"source": EXAMPLE_FILE, "renditions": [OLD_RENDITION], "metadata": "strip"}
    assert ImageTransform.model_validate(spec).pages == "first"
    for fit in ("cover", "contain", "fill"):
        result = render(quarters, OLD_RENDITION | {"fit": fit})
        assert opened(job, result, -1).size == (120, 80)


def test_stored_result_is_read() -> None:
    result = ImageTransformed.model_validate(OLD_RESULT)
    assert result.source.pages == result.renditions[0].page == result.renditions[0].frames == 1
    assert not result.source.damaged
    assert result.renditions[0].quality is None
