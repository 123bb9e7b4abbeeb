"""`image.transform`: one picture in, a set of renditions out."""

from worker.kinds.image.kind import transform
from worker.kinds.image.options import ImageTransform
from worker.kinds.image.result import ImageTransformed

__all__ = ["ImageTransform", "ImageTransformed", "transform"]
