"""What a storage URL may be, and what is said of one that is wrong."""

import pytest
from pydantic import ValidationError

from app.core.config import ConfigurationError, Storage
from app.core.storage import open_store


@pytest.mark.parametrize(
    "url",
    [
        "nowhere://bucket",
        "nowhere://user:hunter2@bucket",
        "az://user:hunter2@container",
        "az://container?sig=hunter2",
        "s3://key:hunter/2@bucket",
        "nowhere://[user:hunter2@bucket",
        "https://account.blob.core.windows.net?sig=hunter2",
    ],
)
def test_a_url_that_no_store_has_is_one_line_without_its_secret(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        open_store(Storage(url=url))
    said = str(refused.value)
    assert said.startswith("HEAVYLIFT_STORAGE_URL: can't open ")
    assert "\n" not in said
    assert "Debug" not in said
    assert "hunter" not in said


@pytest.mark.parametrize(
    "url",
    ["file://files", "FILE://files", "file://a/b", "file:files", "file:/files", "file:///a?b#c"],
)
def test_a_folder_is_a_whole_path(url: str) -> None:
    with pytest.raises(ValidationError, match="write it as file:///folder"):
        Storage(url=url)
