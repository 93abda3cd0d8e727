"""The schema of Terraform's AWS provider, read out of a package of typed bindings.

The bindings were generated from the provider's own schema and name it in full: each attribute with its type and
whether it is required, optional or computed, and each nested block. So Terraform can check our modules against the
real names and types where the provider itself is not to be had. What the bindings do not keep are the provider's
checks of values (the form of an ARN, the members of an enumeration).
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from hashlib import sha512
from pathlib import Path
from typing import Any

PACKAGE = "@cdktf/provider-aws@21.22.1"
PACKAGE_SHA512 = "BuSHeaQFUL9l33pBzIMRT7cTQ69AM2mLtijjteCPhVQRmvuhuj9Lvfymf7knAMhYqAT6+Lrls9jiGVW/Us3zrQ=="
PROVIDER_VERSION = "6.25.0"

Block = dict[str, Any]
"""{"attributes": {name: {"type", "required", "optional", "computed"}}, "blocks": {name: {"mode", "required", "many",
"block"}}}, where a type is written as Terraform's protocol writes it: "string", ["list", "string"] …"""

_SOURCE_MAP = re.compile(rb"sourceMappingURL=data:application/json;base64,([A-Za-z0-9+/=]+)")
_TYPE_NAME = re.compile(r'tfResourceType = "(\w+)"')
# One attribute or block, as the bindings write them into HCL.
_ENTRY = re.compile(
    r"^ +(?P<name>\w+): \{\n +value: (?P<value>.*?),\n +isBlock: (?P<block>true|false),\n"
    r' +type: "(?P<kind>\w+)",\n +storageClassType: "(?P<storage>\w+)",\n +\},$',
    re.MULTILINE | re.DOTALL,
)
_WRITER = re.compile(r"^export function (\w+)ToHclTerraform\(.*?\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_CLASS = re.compile(r"^export class (\w+) extends .*?\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_FLAGS = re.compile(
    r"^  // (\w+) - computed: (true|false), optional: (true|false), required: (true|false)\n"
    r"(.*?)(?=^  // \w+ - computed|\Z)",
    re.MULTILINE | re.DOTALL,
)
_GETTER = re.compile(r"this\.get(String|Number|Boolean|List|NumberList|StringMap|NumberMap|BooleanMap)Attribute\(")
_SCALARS = {"string": "string", "number": "number", "boolean": "bool"}
_READ_ONLY = {
    "String": "string",
    "Number": "number",
    "Boolean": "bool",
    "List": ["list", "string"],
    "NumberList": ["list", "number"],
    "StringMap": ["map", "string"],
    "NumberMap": ["map", "number"],
    "BooleanMap": ["map", "bool"],
}


def download(folder: Path) -> Path:
    """The package as a file in `folder`. Raises ValueError when it is not the one that was pinned."""
    subprocess.run(["npm", "pack", PACKAGE, "--silent"], cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=300)
    (package,) = folder.glob("*.tgz")
    if base64.b64encode(sha512(package.read_bytes()).digest()).decode() != PACKAGE_SHA512:
        raise ValueError(f"{PACKAGE}: its checksum is not the pinned one; nothing of it was used")
    return package


def read_package(package: Path) -> dict[str, dict[str, Block]]:
    """{"provider" | "resource" | "data": {type name: block}} of all that the package binds."""
    schema: dict[str, dict[str, Block]] = {"provider": {}, "resource": {}, "data": {}}
    with tarfile.open(package) as archive:
        for member in archive:
            if re.fullmatch(r"package/lib/[\w-]+/index\.js", member.name):
                content = archive.extractfile(member)
                assert content is not None
                _add(schema, Path(member.name).parent.name, content.read())
    return schema


def _add(schema: dict[str, dict[str, Block]], folder: str, script: bytes) -> None:
    found = _SOURCE_MAP.search(script)
    if not found:
        return
    # The compiled script has lost the comments that carry the flags; its source map has kept the source.
    source = json.loads(base64.b64decode(found[1]))["sourcesContent"][0]
    named = _TYPE_NAME.search(source)
    if not named:
        return
    kind = "data" if folder.startswith("data-") else "provider" if named[1] == "aws" else "resource"
    schema[kind][named[1]] = _Bindings(source).top()


class _Bindings:
    """One file of bindings."""

    def __init__(self, source: str) -> None:
        self._writers: dict[str, str] = dict(_WRITER.findall(source))
        self._classes: dict[str, str] = dict(_CLASS.findall(source))
        self._top = source[source.index(f"export class {self._top_name(source)} ") :]

    def _top_name(self, source: str) -> str:
        return next(name for name, text in self._classes.items() if _TYPE_NAME.search(text))

    def top(self) -> Block:
        start = self._top.index("synthesizeHclAttributes()")
        block = self._block(self._top[start:], self._top[:start], outermost=True)
        # Terraform reserves these for every resource; the provider's schema never names them.
        for reserved in ("depends_on", "for_each", "lifecycle", "provider"):
            block["attributes"].pop(reserved, None)
        return block

    def _block(self, entries: str, flags: str, outermost: bool = False) -> Block:
        block: Block = {"attributes": {}, "blocks": {}}
        known = {name: tuple(value == "true" for value in values) for name, *values, _ in _FLAGS.findall(flags)}
        for entry in _ENTRY.finditer(entries):
            computed, optional, required = known.get(entry["name"], (False, True, False))
            if entry["block"] == "true":
                block["blocks"][entry["name"]] = self._nested(entry, required)
            else:
                flagged = {"required": required, "optional": optional, "computed": computed}
                block["attributes"][entry["name"]] = {"type": _type(entry, outermost), **flagged}
        for name, *_values, text in _FLAGS.findall(flags) if outermost else ():
            if name not in block["attributes"] and name not in block["blocks"]:
                getter = _GETTER.search(text)
                read_only = {"required": False, "optional": False, "computed": True}
                block["attributes"][name] = {"type": _READ_ONLY[getter[1]] if getter else "dynamic", **read_only}
        return block

    def _nested(self, entry: re.Match[str], required: bool) -> dict[str, Any]:
        writer = re.search(r"(\w+)ToHclTerraform", entry["value"].replace("listMapperHcl", ""))
        name = writer[1] if writer else ""
        flags = self._classes.get(name[:1].upper() + name[1:] + "OutputReference", "")
        mode = "single" if entry["kind"] == "struct" else entry["kind"]
        many = "listMapper" in entry["value"]
        nested = self._block(self._writers.get(name, ""), flags)
        return {"mode": mode, "required": required, "many": many, "block": nested}


def _type(entry: re.Match[str], outermost: bool) -> Any:
    storage = entry["storage"]
    if storage in _SCALARS:
        return _SCALARS[storage]
    for suffix, collection in (("List", "list"), ("Map", "map")):
        element = _SCALARS.get(storage.removesuffix(suffix))
        if storage.endswith(suffix) and element:
            return ["set" if entry["kind"] == "set" else collection, element]
    # Terraform allows no dynamic type inside of a nested block; text is what the rest there is.
    return "dynamic" if outermost else "string"


def cached_schema(cache: Path) -> Path:
    """The whole schema as a JSON file; downloaded and read once, then kept in `cache`."""
    target = cache / f"aws-{PROVIDER_VERSION}.json"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            schema = read_package(download(Path(folder)))
            partial = Path(folder) / "schema.json"
            partial.write_text(json.dumps(schema))
            partial.replace(target)
    return target


def only_named(schema: dict[str, dict[str, Block]], configuration: str) -> dict[str, dict[str, Block]]:
    """The part of the schema whose type names occur in `configuration`: a provider answers faster with less."""
    words = set(re.findall(r"\baws_\w+", configuration))
    return {
        "provider": schema["provider"],
        "resource": {name: block for name, block in schema["resource"].items() if name in words},
        "data": {name: block for name, block in schema["data"].items() if name in words},
    }


if __name__ == "__main__":
    # For `make deploy-venv`: what tests would otherwise download in their own time.
    sys.stdout.write(f"{cached_schema(Path(sys.argv[1]))}\n")
