"""The page of `check-data`: every photo as it will be seen, with its captions, as one HTML file."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path

from cat_bench.tasks.photos.folder import PhotoFolder
from cat_bench.tasks.photos.photo import Photo
from cat_bench.tasks.photos.photo_set import PhotoSet

SIDE = 176  # pixels of a thumbnail

_STYLE = """
:root { --paper: #ffffff; --ink: #1b1f24; --faint: #59636e; --rule: #d0d7de; --held: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #0f1318; --ink: #e6edf3; --faint: #9aa4af; --rule: #333b45; --held: #56b4e9; }
}
* { box-sizing: border-box; }
html { background: var(--paper); color: var(--ink); }
body { max-width: 1200px; margin: 0 auto; padding: 1.5rem 1.25rem 4rem;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.25rem 0 .25rem; padding-top: .75rem; border-top: 1px solid var(--rule);
  overflow-wrap: anywhere; }
.lead { color: var(--faint); margin: 0; max-width: 85ch; }
.photos { display: grid; grid-template-columns: repeat(auto-fill, minmax(176px, 1fr)); gap: 1rem .9rem;
  margin: .9rem 0; }
figure { margin: 0; }
img { display: block; width: 100%; aspect-ratio: 1; border-radius: 4px; border: 1px solid var(--rule); }
.held img { outline: 3px solid var(--held); outline-offset: 1px; }
figcaption { font-size: .8rem; line-height: 1.35; margin-top: .4rem; overflow-wrap: anywhere; }
.name { font-weight: 600; }
.held .name::after { content: " · reference"; color: var(--held); }
.about { color: var(--faint); display: block; }
ul { margin: .5rem 0; padding-left: 1.2rem; color: var(--faint); font-size: .87rem; }
"""


def check_page(photos: PhotoSet) -> str:
    """The page of a folder without errors; needs no other file."""
    count = sum(len(folder.train) + len(folder.references) for folder in photos.folders)
    title = escape(photos.path.resolve().name)
    body = "\n".join(_section(folder) for folder in photos.folders)
    between = "".join(f"<li>{escape(finding.line)}</li>" for finding in photos.between)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · cat-bench check-data</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{title}</h1>
<p class="lead">{_counted(len(photos.folders), "concept")}, {_counted(count, "image")}, each as it will be seen:
upright, RGB, the centre square. Framed ones are references: held out of training, and what generated images are
compared with.</p>
{f"<ul>{between}</ul>" if between else ""}
{body}
</body>
</html>
"""


def summary(folder: PhotoFolder) -> str:
    """What a concept's folder holds, in one line: "5 images (3 to train, 2 held out), 512 × 512, no captions"."""
    photos = (*folder.train, *folder.references)
    sides = sorted({(photo.width, photo.height) for photo in photos}, key=lambda side: side[0] * side[1])
    sizes = [f"{width} × {height}" for width, height in sides]
    size = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else "".join(sizes)
    captioned = sum(photo.path in folder.captions for photo in folder.train)
    captions = f"captions for {captioned} of {len(folder.train)}" if captioned else "no captions"
    split = f"{len(folder.train)} to train, {len(folder.references)} held out"
    return f"{_counted(len(photos), 'image')} ({split}), {size}, {captions}"


def _section(folder: PhotoFolder) -> str:
    train = "\n".join(_figure(photo, folder, "") for photo in folder.train)
    held = "\n".join(_figure(photo, folder, "held") for photo in folder.references)
    notes = "".join(f"<li>{escape(_short(finding.line, folder.path))}</li>" for finding in folder.findings)
    return f"""<h2>{escape(folder.path.name or folder.path.resolve().name)}</h2>
<p class="lead">{escape(summary(folder))}; {escape(folder.split)}.</p>
<div class="photos">
{train}
{held}
</div>
{f"<ul>{notes}</ul>" if notes else ""}"""


def _figure(photo: Photo, folder: PhotoFolder, role: str) -> str:
    buffer = io.BytesIO()
    photo.image(SIDE * 2).resize((SIDE, SIDE), reducing_gap=3).save(buffer, "JPEG", quality=82)
    data = base64.b64encode(buffer.getvalue()).decode()
    caption = folder.captions.get(photo.path)
    about = f"{photo.width} × {photo.height}" + (f" · “{caption}”" if caption and not role else "")
    name = escape(str(photo.path.relative_to(folder.path)))
    return (
        f'<figure class="{role}"><img src="data:image/jpeg;base64,{data}" alt="{name}" loading="lazy">'
        f'<figcaption><span class="name">{name}</span><span class="about">{escape(about)}</span></figcaption></figure>'
    )


def _short(line: str, folder: Path) -> str:
    return line.removeprefix(f"{folder}/").removeprefix(f"{folder}: ")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
