"""MkDocs hook: a page for each notebook, with the outputs that the notebook was saved with.

The theme then renders a notebook like any other page. Plugins that embed Jupyter's HTML load scripts from the network.
"""

from pathlib import PurePosixPath

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        path = PurePosixPath(notebook.src_uri)
        pictures = {"output_files_dir": path.stem, "unique_key": "output"}
        text, resources = MarkdownExporter().from_notebook_node(nbformat.reads(notebook.content_string, 4), pictures)
        files.append(File.generated(config, str(path.with_suffix(".md")), content=text))
        for name, data in resources["outputs"].items():
            files.append(File.generated(config, str(path.parent / name), content=data))
    return files
