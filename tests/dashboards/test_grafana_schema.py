"""The dashboards are what Grafana's own published types say a dashboard is."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent / "grafana_schema"
DASHBOARDS = Path(__file__).parents[2] / "dashboards"
RAW = "@grafana/schema/dist/esm/raw"
PANELS = {
    "bargauge": "bargauge/panelcfg/x/BarGaugePanelCfg_types.gen",
    "heatmap": "heatmap/panelcfg/x/HeatmapPanelCfg_types.gen",
    "stat": "stat/panelcfg/x/StatPanelCfg_types.gen",
    "state-timeline": "statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen",
    "table": "table/panelcfg/x/TablePanelCfg_types.gen",
    "text": "text/panelcfg/x/TextPanelCfg_types.gen",
    "timeseries": "timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen",
}
WITH_FIELDS = {"heatmap", "state-timeline", "table", "timeseries"}
"""Panel types that have a custom field configuration of their own."""

# JSON has the values of TypeScript's enumerations, not the enumerations.
PLAIN = """
type Plain<T> = T extends string ? `${T}`
  : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> }
  : T;
"""
CONFIG = {
    "compilerOptions": {
        "strict": True,
        "noEmit": True,
        "module": "nodenext",
        "moduleResolution": "nodenext",
        "target": "es2022",
        "skipLibCheck": True,
    },
}


@pytest.fixture
def compiler(tmp_path: Path) -> list[str]:
    """TypeScript's compiler, with Grafana's types in reach of the test's folder."""
    program = HERE / "node_modules" / ".bin" / "tsc"
    if shutil.which("node") is None or not program.exists():
        pytest.skip(
            "Grafana's schema is not on this machine (npm install --no-package-lock"
            " --ignore-scripts in tests/dashboards/grafana_schema brings it)"
        )
    (tmp_path / "node_modules").symlink_to(HERE / "node_modules")
    return [str(program), "-p", str(tmp_path)]


OF_THE_DATA_SOURCE = {"target", "titleFormat", "textFormat", "tagKeys", "useValueForTime"}
"""Keys of an annotation that belong to Prometheus, of which the schema of dashboards knows
nothing."""


def committed() -> dict[str, dict[str, Any]]:
    """Every dashboard, by the name of its file without the ending."""
    return {
        path.stem: json.loads(path.read_text("utf-8"))
        for path in sorted((DASHBOARDS / "grafana" / "dashboards").glob("*.json"))
    }


def checked_source(dashboard: dict[str, Any]) -> str:
    """TypeScript that compiles if the dashboard and every panel's options have the right types."""
    for annotation in dashboard["annotations"]["list"]:
        for key in OF_THE_DATA_SOURCE:
            annotation.pop(key)
    lines = [f'import type {{ Dashboard }} from "{RAW}/dashboard/x/Dashboard_types.gen";', PLAIN]
    for kind, module in PANELS.items():
        name = kind.replace("-", "_")
        lines.append(f'import type * as {name} from "{RAW}/composable/{module}";')
    lines.append(f"export const dashboard: Plain<Dashboard> = {json.dumps(dashboard, indent=1)};")
    for panel in dashboard["panels"]:
        kind = panel["type"]
        name, number = kind.replace("-", "_"), panel["id"]
        if kind == "row":
            continue
        options = json.dumps(panel["options"], indent=1)
        lines.append(f"export const options_{number}: Plain<{name}.Options> = {options};")
        if kind in WITH_FIELDS:
            custom = json.dumps(panel["fieldConfig"]["defaults"].get("custom", {}), indent=1)
            lines.append(f"export const fields_{number}: Plain<{name}.FieldConfig> = {custom};")
    return "\n".join(lines)


def compiled(
    dashboards: dict[str, dict[str, Any]], compiler: list[str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """What the compiler says of these dashboards, all in one go: starting it takes longest."""
    for name, dashboard in dashboards.items():
        (folder / f"{name}.ts").write_text(checked_source(dashboard), "utf-8")
    config = {**CONFIG, "files": [f"{name}.ts" for name in dashboards]}
    (folder / "tsconfig.json").write_text(json.dumps(config))
    return subprocess.run(compiler, check=False, capture_output=True, text=True)


def test_dashboards_have_grafanas_types(compiler: list[str], tmp_path: Path) -> None:
    """No unknown key, no missing one, and no value that Grafana does not know."""
    result = compiled(committed(), compiler, tmp_path)

    assert "" == result.stdout + result.stderr


def test_wrong_values_are_found(compiler: list[str], tmp_path: Path) -> None:
    """A panel option of an unknown value passes in none of them: the check does look at it."""
    dashboards = committed()
    for dashboard in dashboards.values():
        panel = next(panel for panel in dashboard["panels"] if panel["type"] != "row")
        panel["options"][next(iter(panel["options"]))] = ["no such thing"]

    result = compiled(dashboards, compiler, tmp_path)

    assert result.returncode != 0
    for name in dashboards:
        assert f"{name}.ts" in result.stdout
    assert "is not assignable" in result.stdout
