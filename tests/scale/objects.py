"""A file system of Beam in memory, with the rules of object stores, as strict as the strictest.

An object appears when its writer is closed, also if that fails half-way; there are no folders and no locks; what is
renamed is copied and then deleted, and no object is renamed to a name that exists.
"""

import io

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata, FileSystem

STORE: dict[str, bytes] = {}


class _Writer(io.BytesIO):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def close(self):
        if not self.closed:
            Objects.change(lambda: STORE.__setitem__(self.path, self.getvalue()))
        super().close()


class Objects(FileSystem):
    @staticmethod
    def change(function):
        """Change the store; tests replace it to fail or to end a process at any change."""
        function()

    @classmethod
    def scheme(cls):
        return "objects"

    def join(self, basepath, *paths):
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path):
        head, _, tail = path.rpartition("/")
        return head, tail

    def mkdirs(self, path):
        pass

    def has_dirs(self):
        return False

    def _list(self, dir_or_prefix):
        yield from (self.metadata(path) for path in sorted(STORE) if path.startswith(dir_or_prefix))

    def create(self, path, mime_type="", compression_type=CompressionTypes.AUTO):
        assert compression_type == CompressionTypes.UNCOMPRESSED
        return _Writer(path)

    def open(self, path, mime_type="", compression_type=CompressionTypes.AUTO):
        assert compression_type == CompressionTypes.UNCOMPRESSED
        if path not in STORE:
            raise BeamIOError("No such object", {path: None})
        return io.BytesIO(STORE[path])

    def copy(self, source_file_names, destination_file_names):
        raise NotImplementedError

    def rename(self, source_file_names, destination_file_names):
        for source, target in zip(source_file_names, destination_file_names):
            if source not in STORE or target in STORE:
                raise BeamIOError("Rename operation failed", {(source, target): None})
            self.change(lambda: STORE.__setitem__(target, STORE[source]))
            self.change(lambda: STORE.pop(source))

    def exists(self, path):
        return path in STORE

    def size(self, path):
        return len(STORE[path])

    def last_updated(self, path):
        return 0.0

    def checksum(self, path):
        return str(len(STORE[path]))

    def metadata(self, path):
        return FileMetadata(path, len(STORE[path]), 0.0)

    def delete(self, paths):
        for match in self.match(paths):
            if not match.metadata_list:
                raise BeamIOError("Delete operation failed", {match.pattern: None})
            for each in match.metadata_list:
                self.change(lambda: STORE.pop(each.path))
