"""Python files of a folder as a package under a name of its own.

Versions and copies of the same files live side by side in one process, and nothing of theirs is importable by
anybody else. What runs are the very bytes that a digest was taken of: Python's own loader would take a stale .pyc
for a file that changed within a second and kept its length.
"""

from __future__ import annotations

import builtins
import importlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from optml_queue.errors import DriverError


class SourcePackage(MetaPathFinder):
    """The package `name`: the files of `sources`, below `folder`, relative to it, as its modules.

    They import each other relatively. With `absolute`, also as a script would that lies in the folder:
    `import layers` means the layers.py beside it, and goes before a library of that name.
    """

    def __init__(self, name: str, folder: Path, sources: Mapping[Path, bytes], *, absolute: bool = False) -> None:
        self.name = name
        self._folder = folder
        self._absolute = absolute
        # Module → its file, and its folder when it is a package; a folder needs no __init__.py.
        self._files: dict[str, tuple[Path, bytes]] = {}
        self._folders: dict[str, Path] = {name: folder}
        for path, source in sources.items():
            self._enter(path, source)

    def _enter(self, path: Path, source: bytes) -> None:
        parts = path.relative_to(self._folder).with_suffix("").parts
        if not all(part.isidentifier() for part in parts):
            return  # no import statement could name it
        for depth in range(1, len(parts)):
            self._folders[".".join((self.name, *parts[:depth]))] = self._folder.joinpath(*parts[:depth])
        module = parts[:-1] if parts[-1] == "__init__" else parts
        self._files[".".join((self.name, *module))] = (path, source)

    @property
    def tops(self) -> frozenset[str]:
        """The names of the modules and packages directly in the folder."""
        depth = self.name.count(".") + 1
        return frozenset(
            name.split(".")[depth] for name in (*self._files, *self._folders) if name.startswith(f"{self.name}.")
        )

    def load(self, module: str) -> ModuleType:
        """Import one of the modules, as in `load("driver")`.

        Raises DriverError with file and line when it, or one that it imports, cannot be; then nothing of the package
        stays behind.
        """
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        try:
            return importlib.import_module(f"{self.name}.{module}")
        except (Exception, SystemExit) as error:
            self.forget()
            raise DriverError(self._problem(error, module)) from error

    def forget(self) -> None:
        """Remove the package from this process."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for name in [name for name in sys.modules if name == self.name or name.startswith(f"{self.name}.")]:
            del sys.modules[name]

    def _problem(self, error: BaseException, module: str) -> str:
        if isinstance(error, SyntaxError) and error.filename:
            return f"{error.filename}:{error.lineno}: {error.msg}"
        frames = [f for f in traceback.extract_tb(error.__traceback__) if self._folder in Path(f.filename).parents]
        where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else f"{self._folder / module}.py"
        return f"{where}: cannot be loaded: {type(error).__name__}: {error}"

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        """What Python's import asks for each name that it does not know."""
        folder = self._folders.get(fullname)
        if fullname in self._files:
            file, source = self._files[fullname]
        elif folder is not None:
            file, source = folder / "__init__.py", b""
        else:
            return None
        inside = importing_from(self.name, self.tops) if self._absolute else None
        return spec_from_file_location(
            fullname,
            loader=_SourceLoader(fullname, str(file), source, inside),
            submodule_search_locations=None if folder is None else [str(folder)],
        )


class _SourceLoader(SourceFileLoader):
    """Runs bytes that were read before. `builtins` replace Python's own for the module."""

    def __init__(self, fullname: str, path: str, source: bytes, builtins: Mapping[str, Any] | None) -> None:
        super().__init__(fullname, path)
        self._source = source
        self._builtins = builtins

    def get_data(self, path: Any) -> bytes:  # noqa: ARG002 - a loader is for one file
        return self._source

    def path_stats(self, path: Any) -> Any:
        raise OSError(f"{path} has no compiled form")

    def exec_module(self, module: ModuleType) -> None:
        if self._builtins is not None:
            module.__dict__["__builtins__"] = dict(self._builtins)
        super().exec_module(module)


def importing_from(package: str, tops: frozenset[str]) -> dict[str, Any]:
    """Builtins whose import statement looks into a package first, for the names in `tops`."""

    def import_inside(
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the names of the builtin
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if level or top not in tops:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        found = builtins.__import__(f"{package}.{name}", globals, locals, fromlist or (), 0)
        # As in Python: `import a.b` binds a, `from a.b import c` looks into b.
        return found if fromlist else sys.modules[f"{package}.{top}"]

    return {**vars(builtins), "__import__": import_inside}
