"""The dashboards are what Grafana's own published types say a dashboard is."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent / "grafana_schema"
RAW = "@grafana/schema/dist/esm/raw"
PANELS = {
    "stat": "stat/panelcfg/x/StatPanelCfg_types.gen",
    "state-timeline": "statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen",
    "table": "table/panelcfg/x/TablePanelCfg_types.gen",
    "text": "text/panelcfg/x/TextPanelCfg_types.gen",
    "timeseries": "timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen",
}
WITH_FIELDS = {"state-timeline", "table", "timeseries"}
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
    "files": ["check.ts"],
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
    (tmp_path / "tsconfig.json").write_text(json.dumps(CONFIG), "utf-8")
    return [str(program), "-p", str(tmp_path)]


def checked_source(dashboard: dict[str, Any]) -> str:
    """TypeScript that compiles if the dashboard and every panel's options have the right types."""
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


def test_dashboard_has_grafanas_types(
    dashboard: dict[str, Any], compiler: list[str], tmp_path: Path
) -> None:
    """No unknown key, no missing one, and no value that Grafana does not know."""
    (tmp_path / "check.ts").write_text(checked_source(dashboard), "utf-8")

    result = subprocess.run(compiler, check=False, capture_output=True, text=True)

    assert "" == result.stdout + result.stderr


def test_wrong_value_is_found(
    dashboard: dict[str, Any], compiler: list[str], tmp_path: Path
) -> None:
    """A panel option of an unknown value does not pass: the check does look at it."""
    panel = next(panel for panel in dashboard["panels"] if panel["type"] != "row")
    option = next(key for key, value in panel["options"].items() if isinstance(value, str | dict))
    panel["options"][option] = 1
    (tmp_path / "check.ts").write_text(checked_source(dashboard), "utf-8")

    result = subprocess.run(compiler, check=False, capture_output=True, text=True)

    assert result.returncode != 0
    assert "is not assignable" in result.stdout
