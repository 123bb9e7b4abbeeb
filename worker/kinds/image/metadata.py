"""Keeps a picture's metadata, without the parts that show the picture as it was before."""

import re
from html import unescape
from typing import Any

# XMP's thumbnails (xmp:Thumbnails, xmpGImg:image) are JPEG files in Base64.
XMP_THUMBNAILS = re.compile(
    rb"<(xmp|xap):Thumbnails\b.*?</\1:Thumbnails\s*>|<(xmp|xap):Thumbnails\b[^>]*/>", re.DOTALL
)
# Names of the XML namespaces whose values are pictures: XMP's thumbnails, and Google's pictures
# from before an effect and maps of depth.
PICTURES = re.compile(
    r"""xmlns(?::([\w.-]+))?\s*=\s*["']\s*(?:http://ns\.adobe\.com/xap/1\.0/g/img/"""
    r"""|http://ns\.google\.com/photos/1\.0/(?:image|depthmap)/)\s*["']"""
)
USUAL_PREFIX = "xmpGImg"
# How a JPEG or PNG file begins in Base64.
BASE64_PICTURE = re.compile(r"/9j/[A-Za-z0-9+/]{40}|iVBORw0KGgo")
MAX_THUMBNAILS = 100
MAX_PREFIXES = 10
# Image resources of Photoshop that hold a thumbnail: of version 4, and of 5 and later.
PHOTOSHOP_THUMBNAILS = {1033, 1036}
SIGNATURE = b"8BIM"


def without_previews(image: Any) -> Any:
    """The image without the thumbnails and previews in its metadata.

    They show the picture uncropped. Those in a camera maker's notes have a form of their own for
    each maker, so the notes go as a whole.
    """
    image = image.copy()
    _remove_misnamed(image)
    for field in image.get_fields():
        if (
            field in ("jpeg-thumbnail-data", "heif-thumbnail", "photoshop-data", "gainmap-data")
            or field.startswith("exif-ifd1-")
            or field.endswith("-MakerNote")
        ):
            image.remove(field)
    _replace(image, "xmp-data", without_xmp_thumbnails)
    _replace(image, "iptc-data", without_photoshop_thumbnails)
    return image


def _remove_misnamed(image: Any) -> None:
    """Remove the fields whose names are not UTF-8, such as a PNG file's in Latin-1.

    pyvips fails at the list of all names if it holds one of them.
    """
    from pyvips import ffi, glib_lib, vips_lib

    names = vips_lib.vips_image_get_fields(image.pointer)
    at = 0
    while names[at] != ffi.NULL:
        name: bytes = ffi.string(names[at])
        try:
            name.decode()
        except UnicodeDecodeError:
            vips_lib.vips_image_remove(image.pointer, name)
        glib_lib.g_free(names[at])
        at += 1
    glib_lib.g_free(names)


def _replace(image: Any, field: str, change: Any) -> None:
    if not image.get_typeof(field):
        return
    before = bytes(image.get(field))
    after = change(before)
    if after == before:
        return
    blob_type = image.get_typeof(field)
    image.remove(field)
    if after:
        image.set_type(blob_type, field, after)


def without_xmp_thumbnails(xmp: bytes) -> bytes:
    """The XMP packet without thumbnails, or nothing if a picture is stored in another way."""
    if xmp.count(b":Thumbnails") > MAX_THUMBNAILS:
        return b""
    rest = XMP_THUMBNAILS.sub(b"", xmp)
    try:
        text = unescape(rest.decode("utf-8"))
    except UnicodeDecodeError:
        return b""
    # Zeros are from UTF-16, which is allowed too.
    if "\0" in text.rstrip("\0") or BASE64_PICTURE.search(text):
        return b""
    prefixes = {USUAL_PREFIX, *PICTURES.findall(text)}
    if "" in prefixes or len(prefixes) > MAX_PREFIXES:
        return b""
    used = any(re.search(rf"(?<![\w:.-]){re.escape(prefix)}:\w", text) for prefix in prefixes)
    return b"" if used else rest


def without_photoshop_thumbnails(block: bytes) -> bytes:
    """The image resources of a JPEG file's APP13 segment without thumbnails.

    They are: a header, then `8BIM`, number, padded name, size and padded content of each. Nothing
    is left of a block that has another form.
    """
    start = block.find(SIGNATURE)
    if start < 0:
        return block
    kept = block[:start]
    at = start
    while block[at : at + 4] == SIGNATURE:
        number = int.from_bytes(block[at + 4 : at + 6])
        name = at + 6
        size_at = name + 1 + block[name : name + 1].ljust(1, b"\0")[0]
        size_at += (size_at - name) % 2
        size = int.from_bytes(block[size_at : size_at + 4])
        end = size_at + 4 + size + size % 2
        if number not in PHOTOSHOP_THUMBNAILS:
            kept += block[at:end]
        at = end
    return kept
