from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.image.rendering import BLUE, COLOURS, GREEN, RED, WHITE, Transform
from worker.kinds.image import ImageTransform, ImageTransformed, transform


@pytest.fixture
def render(job: FolderContext) -> Transform:
    def run(path: Path, *renditions: dict[str, Any], **options: Any) -> ImageTransformed:
        wanted = [{"name": f"r{i}", "format": "png"} | r for i, r in enumerate(renditions)]
        spec = {"source": job.give(path), "renditions": wanted, **options}
        return transform(ImageTransform.model_validate(spec), job)

    return run


@pytest.fixture
def quarters(tmp_path: Path) -> Path:
    """120 x 80: red and green above, blue and white below."""
    image = Image.new("RGB", (120, 80))
    for colour, left, top in ((RED, 0, 0), (GREEN, 60, 0), (BLUE, 0, 40), (WHITE, 60, 40)):
        image.paste(colour, (left, top, left + 60, top + 40))
    path = tmp_path / "quarters.png"
    image.save(path)
    return path


@pytest.fixture
def document(tmp_path: Path) -> Path:
    """A TIFF file of four pages, each of another colour and 10 pixels wider."""
    pages = [Image.new("RGB", (40 + 10 * n, 30), colour) for n, colour in enumerate(COLOURS)]
    path = tmp_path / "document.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path
