"""Object storage: a local folder, S3, GCS or Azure, by the URL's scheme."""

from urllib.parse import unquote, urlsplit

from obstore.store import LocalStore, ObjectStore, from_url

from app.core.config import ConfigurationError, Storage

VARIABLE = "HEAVYLIFT_STORAGE_URL"


def open_store(storage: Storage) -> ObjectStore:
    """Open the store; a local folder is made if it is missing.

    Open it in the process that uses it: its runtime does not survive a fork.
    Raises `ConfigurationError`.
    """
    parts = urlsplit(storage.url)
    try:
        if parts.scheme == "file":
            return LocalStore(unquote(parts.path), automatic_cleanup=True, mkdir=True)
        return from_url(storage.url)
    except Exception as error:
        # obstore raises types of its own for each store and for each way to be wrong.
        raise ConfigurationError(f"{VARIABLE}: can't open {storage.url}: {error}") from error
