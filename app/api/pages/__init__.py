"""Pages for people, out of the package: the one that the newsletter's mails link to."""

from pathlib import Path

from fastapi import APIRouter, Request, Response

FOLDER = Path(__file__).parent

HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

PAGE = (FOLDER / "newsletter.html").read_bytes()
SCRIPT = (FOLDER / "newsletter.js").read_bytes()


async def newsletter(_: Request) -> Response:
    """The link's token is behind its #: nothing of it comes here, and opening changes nothing."""
    return Response(PAGE, media_type="text/html", headers=HEADERS)


async def newsletter_script(_: Request) -> Response:
    return Response(SCRIPT, media_type="text/javascript", headers=HEADERS)


router = APIRouter()
# Not operations of the API, which refuse what they do not know: links in mails get parameters
# from whoever counts clicks.
router.add_route("/newsletter", newsletter, include_in_schema=False)
router.add_route("/newsletter.js", newsletter_script, include_in_schema=False)
