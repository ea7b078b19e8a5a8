"""The distribution's one name: `align2llava.clients`, `align2llava.services`, `align2llava.pipeline`.

In the repository these are links to the top-level folders, in a wheel they are folders. A Bento holds
no links: there the three lie beside this file's folder.
"""

from pathlib import Path

_HERE = Path(__file__).parent

if not (_HERE / "services").is_dir():
    __path__.append(str(_HERE.parent))
