"""Opens untrusted pictures: checks their format and size first, and finds damage.

```python
library = vips(job.threads)
picture = open_picture(library, path)
pixels = picture.decode(lambda: picture.reduced(2000, 2000, size="down").numpy())
```

`open_picture` reads a header and refuses pictures that are too large; `decode` runs work that reads
pixels, and refuses a picture that is damaged. Both raise `JobError` with `image-unsupported`,
`image-too-large` or `image-broken`.
"""

from worker.kinds.pictures.faults import reason, reject_broken
from worker.kinds.pictures.header import MAX_PIXELS, MAX_SIDE, Header, is_picture, read_header
from worker.kinds.pictures.library import vips
from worker.kinds.pictures.picture import MAX_ANIMATION_PIXELS, Picture, open_picture, page_named

__all__ = [
    "MAX_ANIMATION_PIXELS",
    "MAX_PIXELS",
    "MAX_SIDE",
    "Header",
    "Picture",
    "is_picture",
    "open_picture",
    "page_named",
    "read_header",
    "reason",
    "reject_broken",
    "vips",
]
