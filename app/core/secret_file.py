"""A secret that may change while the process runs."""

from collections.abc import Callable
from pathlib import Path

import structlog
from pydantic import SecretStr
from typing_extensions import override

log = structlog.get_logger(__name__)


class SecretFile(SecretStr):
    """Reads its file each time it is asked; what is no good for the moment is what it was before.

    Kubernetes replaces a Secret's files a minute or so after the Secret.
    """

    def __init__(self, path: Path, check: Callable[[SecretStr], object]) -> None:
        """Raises `OSError` and `UnicodeDecodeError`."""
        super().__init__(_content(path))
        self._path = path
        self._check = check
        self._faulty = False

    @override
    def get_secret_value(self) -> str:
        try:
            content = _content(self._path)
            if content != self._secret_value:
                self._check(SecretStr(content))
                self._secret_value = content
                log.info("secret read anew", file=str(self._path))
            self._faulty = False
        except (OSError, ValueError) as error:
            if not self._faulty:
                # Of a value that is wrong, what is wrong: not the value.
                log.warning("secret not read anew", file=str(self._path), error=str(error))
            self._faulty = True
        return self._secret_value


def _content(path: Path) -> str:
    return path.read_text().rstrip("\n")
