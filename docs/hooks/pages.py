"""MkDocs hook: pages that are made of files outside docs/, and of notebooks with the outputs that they were saved with.

The theme then renders a notebook like any other page. Plugins that embed Jupyter's HTML load scripts from the network.
"""

from pathlib import Path, PurePosixPath

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[2]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    gallery = (ROOT / "examples/README.md").read_text()
    files.append(File.generated(config, "gallery.md", content=gallery.replace("](../docs/", "](")))
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        path = PurePosixPath(notebook.src_uri)
        names = {"output_files_dir": path.stem, "unique_key": "output"}
        text, resources = MarkdownExporter().from_notebook_node(nbformat.reads(notebook.content_string, 4), names)
        files.append(File.generated(config, str(path.with_suffix(".md")), content=text.replace(".ipynb)", ".md)")))
        for name, data in resources["outputs"].items():
            files.append(File.generated(config, str(path.parent / name), content=data))
    return files
