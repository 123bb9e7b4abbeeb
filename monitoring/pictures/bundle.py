"""The page as a browser loads it: npm installs its packages, esbuild bundles it; both only where
something has changed."""

import hashlib
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES = HERE / "node_modules"
BUNDLE = HERE / "bundle"

# By the names under which Grafana's style sheet asks for them.
FONTS = {
    f"Inter-{name}.woff2": PACKAGES / f"@fontsource/inter/files/inter-latin-{weight}-normal.woff2"
    for name, weight in (("Regular", 400), ("Medium", 500))
}

# Icons that the components fetch while they draw.
ICONS = PACKAGES / "@grafana" / "ui" / "dist" / "public" / "img" / "icons"


class NoBundle(Exception):
    """npm is not installed, or has failed."""


def npm(*arguments: str) -> None:
    """Run npm in the page's folder. Raises `NoBundle`."""
    command = shutil.which("npm")
    if command is None:
        raise NoBundle("npm is not on the PATH: install Node.js 18 or newer with npm")
    ran = subprocess.run(  # noqa: S603
        [command, *arguments], cwd=HERE, text=True, capture_output=True, check=False
    )
    if ran.returncode:
        raise NoBundle(f"npm {' '.join(arguments)}:\n{ran.stdout}{ran.stderr}")


def _digest(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def _is_done(stamp: Path, digest: str) -> bool:
    return stamp.exists() and stamp.read_text() == digest


def install() -> None:
    """Install exactly the packages of package-lock.json; their scripts do not run."""
    stamp = PACKAGES / ".installed"
    digest = _digest(HERE / "package-lock.json")
    if not _is_done(stamp, digest):
        npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        stamp.write_text(digest)


def build() -> Path:
    """Return the folder of the bundled page."""
    install()
    stamp = BUNDLE / ".built"
    sources = [HERE / "package.json", HERE / "package-lock.json", *(HERE / "page").iterdir()]
    digest = _digest(*sources)
    if not _is_done(stamp, digest):
        shutil.rmtree(BUNDLE, ignore_errors=True)
        npm("run", "--silent", "build", "--", f"--outdir={BUNDLE}")
        stamp.write_text(digest)
    return BUNDLE
