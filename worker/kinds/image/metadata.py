"""What is kept of a picture's metadata, and what would show the picture as it was before."""

import re
from typing import Any

# XMP's thumbnails (xmp:Thumbnails, xmpGImg:image) are JPEG files in Base64.
XMP_THUMBNAILS = re.compile(
    rb"<(xmp|xap):Thumbnails\b.*?</\1:Thumbnails\s*>|<(xmp|xap):Thumbnails\b[^>]*/>", re.DOTALL
)
XMP_IMAGE = re.compile(rb"<xmpGImg:image\b|xmpGImg:image\s*=")
# Image resources of Photoshop that hold a thumbnail: of version 4, and of 5 and later.
PHOTOSHOP_THUMBNAILS = {1033, 1036}
SIGNATURE = b"8BIM"


def without_previews(image: Any) -> Any:
    """The image without the thumbnails and previews in its metadata.

    They show the picture uncropped. Those in a camera maker's notes have a form of their own for
    each maker, so the notes go as a whole.
    """
    image = image.copy()
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
    """The XMP packet without thumbnails, or nothing if one is stored in an unknown way."""
    rest = XMP_THUMBNAILS.sub(b"", xmp)
    return b"" if XMP_IMAGE.search(rest) else rest


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
