"""Run rule traces against copies of the model, one after another, in this process.

Reads from standard input ``[{"name", "path", "traces"}]``: ``path`` is a folder that holds
an ``allocator`` package. Writes ``{name: [what differed]}`` to standard output. A model
that raises an exception tells so with a line that begins with ``crash``.
"""

from __future__ import annotations

import importlib
import json
import sys
from importlib.machinery import FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

_COMPILED: dict[bytes, CodeType] = {}


class OnceLoader(SourceFileLoader):
    """Compiles equal sources once: the copies differ in one file each."""

    def source_to_code(self, data: Any, path: Any) -> CodeType:  # type: ignore[override]  # noqa: ANN401
        """Return the code of a source that was seen before, or compile it."""
        source = bytes(data)
        if source not in _COMPILED:
            _COMPILED[source] = super().source_to_code(data, path)
        return _COMPILED[source]


def differences(traces: list[str]) -> list[str]:
    """Run the traces against the ``allocator`` that is found first."""
    parser = importlib.import_module("tracegen.rule_trace.parser")
    runner = importlib.import_module("tracegen.rule_trace.runner")
    found = []
    for file in traces:
        trace = parser.read_rule_trace(Path(file))
        for variant in trace.variants:
            where = f"{Path(file).name} under {variant}"
            try:
                run = runner.run_rule_trace(trace, variant)
            except Exception as error:  # noqa: BLE001  # a mutant may do anything
                found.append(f"crash: {where}: {error!r}")
                continue
            found += [
                f"{where}, line {done.step.line}: expected {done.expected}, got {done.got}"
                for done in run.differing
            ]
    return found


def main() -> None:
    """Run every mutant with modules of its own."""
    mutants = json.load(sys.stdin)
    folders = (*(mutant["path"] for mutant in mutants), str(Path(__file__).parents[2] / "tracegen"))

    def finder(path: str) -> FileFinder:
        if not path.startswith(folders):
            raise ImportError(path)
        return FileFinder(path, (OnceLoader, [".py"]))

    sys.path_hooks.insert(0, finder)
    sys.path_importer_cache.clear()
    results = {}
    for mutant in mutants:
        for name in [n for n in sys.modules if n.partition(".")[0] in {"allocator", "tracegen"}]:
            del sys.modules[name]
        importlib.invalidate_caches()
        sys.path.insert(0, mutant["path"])
        results[mutant["name"]] = differences(mutant["traces"])
        used = str(importlib.import_module("allocator").__file__)
        if not used.startswith(mutant["path"]):
            results[mutant["name"]] = [f"crash: {used} was run, not {mutant['path']}"]
        sys.path.remove(mutant["path"])
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
