"""Object storage: a local folder, S3, GCS or Azure, by the URL's scheme."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from app.core.config import ConfigurationError, Storage
from app.core.masking import masked

VARIABLE = "HEAVYLIFT_STORAGE_URL"

# All that is ours in a bucket which others may share. Uploads, and what jobs' attempts wrote.
PREFIXES = ("files", "outputs")

# What a store raises when it is away or refuses; a missing object is a FileNotFoundError first.
STORE_ERRORS = (BaseError, OSError)

# A local store writes `key#1`, to be renamed when it is whole; its listings leave them out.
STAGED = re.compile(r"#\d+$")


def open_store(storage: Storage) -> ObjectStore:
    """Open the store; a local folder is made if it is missing.

    Open it in the process that uses it: its runtime does not survive a fork.
    Raises `ConfigurationError`.
    """
    try:
        parts = urlsplit(storage.url)
        if parts.scheme == "file":
            return LocalStore(unquote(parts.path), automatic_cleanup=True, mkdir=True)
        return from_url(storage.url)
    except Exception as error:
        # obstore raises types of its own for each store and for each way to be wrong; its texts
        # may repeat the URL, and go on with a dump of what Rust had.
        place, reason = masked(storage.url), masked(str(error).partition("\n")[0])
        raise ConfigurationError(f"{VARIABLE}: can't open {place}: {reason}") from None


async def remove(store: ObjectStore, key: str) -> None:
    """Make sure that the object is not there."""
    try:
        await obstore.delete_async(store, key)
    except FileNotFoundError:
        # Some stores say so, others don't.
        return


def remove_all(store: ObjectStore, keys: Sequence[str]) -> None:
    """Make sure that none of the objects is there: in one request where the store can."""
    try:
        if keys:
            obstore.delete(store, keys)
    except FileNotFoundError:
        # Those behind the missing one may still be there.
        for key in keys:
            try:
                obstore.delete(store, key)
            except FileNotFoundError:
                continue


def staged_uploads(store: ObjectStore) -> Iterator[tuple[Path, datetime]]:
    """What uploads cut short by a crash left in a local store, with the time of its last byte.

    The other stores keep such parts out of reach: there, a lifecycle rule of the bucket removes
    them (S3: AbortIncompleteMultipartUpload; GCS: the same; Azure: by itself after a week).
    """
    if not isinstance(store, LocalStore) or store.prefix is None:
        return
    for prefix in PREFIXES:
        for path in (Path(store.prefix) / prefix).rglob("*#*"):
            if STAGED.search(path.name):
                try:
                    modified = path.stat().st_mtime
                except FileNotFoundError:
                    continue
                yield path, datetime.fromtimestamp(modified, UTC)
