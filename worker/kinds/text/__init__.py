"""`text.extract`: the text of pictures and PDF files, line by line."""

from worker.kinds.text.extract import extract
from worker.kinds.text.spec import TextExtract, TextExtracted, TextLine, TextLines, TextPage

__all__ = ["TextExtract", "TextExtracted", "TextLine", "TextLines", "TextPage", "extract"]
