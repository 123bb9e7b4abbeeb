"""Names of files: one rule for uploads, for outputs of jobs and for clients that store them."""

import re
import unicodedata

# A name's limit in most file systems (ext4, XFS, APFS, NTFS in its own units), in bytes of UTF-8.
MAX_BYTES = 255

# Controls, lone surrogates, line and paragraph separators (Unicode's general categories).
UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
# They make `gpj.exe` read `exe.jpg` (CVE-2021-42574).
BIDI_CONTROLS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# Windows reserves these device names, with any extension, in any folder.
DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(\..*)?", re.IGNORECASE)


def plain_name(name: str) -> str:
    """Return the name unchanged. Raises `ValueError` if some system can't store it."""
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise ValueError("a name, not a path: without / and \\")
    # First, since the next check walks all characters. A lone surrogate has no UTF-8.
    if len(name.encode(errors="surrogatepass")) > MAX_BYTES:
        raise ValueError(f"at most {MAX_BYTES} bytes in UTF-8")
    if any(
        unicodedata.category(character) in UNPRINTABLE or character in BIDI_CONTROLS
        for character in name
    ):
        raise ValueError("without control characters")
    if DEVICES.fullmatch(name):
        raise ValueError("not the name of a device in Windows")
    return name
