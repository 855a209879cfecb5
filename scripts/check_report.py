"""Makes reports of real models and opens them in Chromium: light and dark, narrow to wide.

A page fails for a message on the console, a request for anything but itself, scrolling sideways as
a whole, a section, table or chart that nobody sees, text that does not stand out from what is
behind it (WCAG AA), a link of the contents that leads nowhere, or if it cannot be printed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tvm_kp.cli.main import main as tvm_kp
from tvm_kp.errors import MissingToolError, RunError, TvmKpError

NETWORK = Path(__file__).parent.parent / "tests" / "networks" / "KWS-LSTM.pt2"
SAMPLES = NETWORK.with_suffix(".npz")
SCHEMES = ("light", "dark")
WIDTHS = (360, 800, 1400)  # of windows, in pixels of CSS
HEIGHT = 900
PAPER = 718  # pixels between the margins of A4

# All of these answer a list of texts: what is wrong.
SIDEWAYS = """() => {
  const root = document.scrollingElement;
  const over = root.scrollWidth - root.clientWidth;
  return over > 0 ? [`scrolls sideways by ${over} px`] : [];
}"""
UNSEEN = """() => [...document.querySelectorAll("h1, section, h2, table, th, td, figure, svg")]
  .filter((one) => {
    const box = one.getBoundingClientRect();
    return box.width < 1 || box.height < 1;
  })
  .map((one) => `nobody sees ${one.tagName} ${one.textContent.trim().slice(0, 40)}`)"""
NOWHERE = """() => [...document.querySelectorAll("a")]
  .filter((one) => !document.getElementById(decodeURIComponent(one.hash.slice(1))))
  .map((one) => `${one.getAttribute("href")} leads nowhere`)"""
# A see-through background shows the one behind it. What a chart draws lies on its page's.
PALE = """() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => parts(color).slice(0, 3)
    .map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor;
      if ((parts(color)[3] ?? 1) === 1) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const one = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || one.closest("title, style")) continue;
    const style = getComputedStyle(one);
    const color = one.closest("svg") ? style.fill : style.color;
    const [a, b] = [light(color), light(behind(one))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(2)} of ${text.slice(0, 40)}`);
  }
  return found;
}"""


def main(argv: Sequence[str] | None = None) -> int:
    """Make pages and check them; the exit code is 1 if anything is wrong with one."""
    about = "Make reports of real models and open them in Chromium."
    parser = argparse.ArgumentParser(prog="scripts/check_report", description=about)
    folder = Path("out/report")
    parser.add_argument(
        *("-o", "--output"), type=Path, default=folder, metavar="DIR", help="(%(default)s)"
    )
    folder = parser.parse_args(argv).output
    try:
        folder.mkdir(parents=True, exist_ok=True)
        wrong = check_pages(make_pages(folder))
    except TvmKpError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    print("\n".join(wrong) or "Nothing is wrong.")
    return 1 if wrong else 0


def check_pages(pages: Sequence[Path]) -> list[str]:
    """What is wrong with ``pages``, one line each; raises MissingToolError without Chromium."""
    program = shutil.which("chromium")
    if program is None:
        raise MissingToolError("chromium is not installed; type: sudo apt-get install chromium")
    wrong: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        for path in pages:
            found = [f"{path.name}: {what}" for what in check_page(browser, path)]
            print(f"{path}: {len(found) or 'nothing'} wrong", flush=True)
            wrong += found
        browser.close()
    return wrong


def make_pages(folder: Path) -> list[Path]:
    """Reports of compiling, running and tuning a small LSTM, in ``folder``."""
    with tempfile.TemporaryDirectory(prefix="tvm_kp-") as name:
        work = Path(name)
        net, host = work / "int8.tar", work / "host.tar"
        integers = ("--quantize", "int8", "--calibration", SAMPLES)
        board, made_up = "--target=mps2-an386", ("--fill-mode", "random")
        approximate = ("--tolerance", "0.3", "--calibration", SAMPLES)
        pools = ("--workspace-pools", "fast,ram", "--workspace-pools-size-hint-bytes", "fast:1024")
        reports: dict[str, tuple[object, ...]] = {
            "int8": ("compile", NETWORK, board, *integers, "-o", net),
            "host": ("compile", NETWORK, "--target=host", *integers, "-o", host),
            "float": (
                *("compile", NETWORK, "--target=mps3-an547", *approximate, *pools),
                *("--module-name", "a_long_name_" * 8, "-o", work / "float.tar"),
            ),
            "run": ("run", net, *made_up, "--profile", "--check", "--reference", host),
            "run-host": ("run", host, *made_up, "--repeat", "9"),
            "tune": (
                *("tune", NETWORK, board, *integers, "--tasks", "1-3", "--trials", "9"),
                *("-o", work / "records.jsonl"),
            ),
        }
        return [_page(folder / f"{name}.html", *command) for name, command in reports.items()]


def _page(path: Path, *command: object) -> Path:
    """Runs a command of tvm-kp that reports to ``path``; raises RunError if it fails."""
    words = [str(word) for word in (*command, "--report", path)]
    if (code := tvm_kp(words)) != 0:
        raise RunError(f"tvm-kp {' '.join(words)} ended with {code}")
    return path


def check_page(browser: Browser, path: Path) -> Iterator[str]:
    """What is wrong with a page; its screenshots and PDF lie beside it."""
    for scheme in SCHEMES:
        for width in WIDTHS:
            size: Any = {"width": width, "height": HEIGHT}
            with browser.new_page(viewport=size, color_scheme=scheme) as page:
                where = f"{scheme}, {width} px"
                told = _listen(page, path)
                page.goto(path.resolve().as_uri())
                for script in (SIDEWAYS, UNSEEN, NOWHERE, PALE):
                    yield from (f"{where}: {what}" for what in page.evaluate(script))
                image = path.with_name(f"{path.stem}-{scheme}-{width}.png")
                page.screenshot(path=image, full_page=True)
                yield from (f"{where}: {what}" for what in told)
        yield from _print(browser, path, scheme)


def _listen(page: Page, path: Path) -> list[str]:
    """A list that fills with what the page says and asks for."""
    told: list[str] = []
    add: Callable[[str], None] = told.append
    page.on("console", lambda message: add(f"console: {message.text}"))
    page.on("pageerror", lambda error: add(f"error: {error}"))
    page.on("requestfailed", lambda request: add(f"failed request: {request.url}"))
    own = path.resolve().as_uri()
    page.on("request", lambda request: None if request.url == own else add(f"asks {request.url}"))
    return told


def _print(browser: Browser, path: Path, scheme: Any) -> Iterator[str]:
    """On paper a page is light, whatever the screen is."""
    with browser.new_page(viewport={"width": PAPER, "height": HEIGHT}) as page:
        page.goto(path.resolve().as_uri())
        page.emulate_media(media="print", color_scheme=scheme)
        for script in (SIDEWAYS, PALE):
            yield from (f"{scheme}, printed: {what}" for what in page.evaluate(script))
        paper = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        if paper != "rgb(255, 255, 255)":
            yield f"{scheme}, printed: paper is {paper}"
        pdf = page.pdf(path=path.with_suffix(".pdf"), format="A4")
        if not pdf.startswith(b"%PDF"):
            yield f"{scheme}: cannot be printed"


if __name__ == "__main__":
    sys.exit(main())
