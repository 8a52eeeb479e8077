"""A report of 25,000 documents: are its numbers right, and how long does a browser take to open it?

    python benchmarks/report_page.py --model FOLDER --documents FILE --training FILE

The classifier must know the labels of the documents. The numbers of the page are computed anew by
scikit-learn from the classifier's decisions. The page is opened in headless Chromium (it and its
driver must be on the path), a new one each time, wide and as narrow as a phone; whatever Chromium
writes to its console counts as a fault.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from common import RUNS, parse, parser, read_labelled, write_labelled, write_result
from environments import selenium_environment
from sklearn import metrics
from workers import spread

from ulmfit.config.questions import ReportConfig
from ulmfit.models.text_classifier import TextClassifier
from ulmfit.stages.report import report

DOCUMENTS, LOADS = 25_000, 5
WIDTHS = {"wide": 1100, "phone": 390}
TOLERANCE = 1e-9

BROWSER = """
import json, sys, tempfile
from selenium import webdriver
page, width = sys.argv[1], int(sys.argv[2])
options = webdriver.ChromeOptions()
for name in ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
             "disable-background-networking", "disable-component-update", "disable-sync",
             "hide-scrollbars", f"user-data-dir={tempfile.mkdtemp()}"):
    options.add_argument("--" + name)
options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
service = webdriver.ChromeService(executable_path=sys.argv[3])
driver = webdriver.Chrome(options=options, service=service)
screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
driver.get(page)
seconds, wider = driver.execute_script('''
  const entry = performance.getEntriesByType("navigation")[0];
  const root = document.documentElement;
  return [entry.loadEventEnd / 1000, root.scrollWidth - root.clientWidth];
''')
print(json.dumps({"seconds": seconds, "wider_by": wider, "console": driver.get_log("browser")}))
driver.save_screenshot(sys.argv[4])
driver.quit()
"""


def opened(page: Path, name: str, width: int) -> dict[str, Any]:
    """Open the page some times; return the seconds until it is loaded, and what was amiss."""
    driver = shutil.which("chromedriver")
    if driver is None:
        raise SystemExit("chromedriver: not found; install Chromium and its driver")
    picture = page.with_name(f"{page.stem}-{name}.png")
    command = [str(selenium_environment()), "-c", BROWSER, page.as_uri(), str(width), driver]
    found = []
    for _ in range(LOADS):
        done = subprocess.run([*command, str(picture)], check=True, capture_output=True, text=True)
        found.append(json.loads(done.stdout))
    return {
        "seconds": spread([each["seconds"] for each in found]),
        "console": [line for each in found for line in each["console"]],
        "wider_than_the_window_by": max(each["wider_by"] for each in found),
    }


def differences(told: dict[str, Any], truth: list[str], decided: list[str]) -> dict[str, float]:
    """Return how far the numbers told are from scikit-learn's."""
    found = {row["measure"]: row["value"] for row in told["scores"]}
    by_label = metrics.classification_report(truth, decided, output_dict=True, zero_division=0.0)
    matrix = metrics.confusion_matrix(truth, decided).tolist()
    return {
        "accuracy": abs(found["accuracy"] - metrics.accuracy_score(truth, decided)),
        "macro_f1": abs(found["macro_f1"] - metrics.f1_score(truth, decided, average="macro")),
        "labels": max(
            abs(row[ours] - by_label[row["label"]][theirs])
            for row in told["labels"]
            for ours, theirs in (("precision",) * 2, ("recall",) * 2, ("f1", "f1-score"))
        ),
        "confusion": float(told["confusion"] != matrix),
    }


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    options = parser(__doc__)
    options.add_argument("--model", required=True, help="folder of a classifier")
    options.add_argument("--documents", type=Path, required=True, help="labelled documents")
    options.add_argument("--training", help="those it was trained on, for the linear baseline")
    parsed = parse(options, arguments)
    documents, _ = read_labelled(parsed.documents).split(DOCUMENTS, seed=1)
    data, page = RUNS / "labelled" / "report.jsonl", RUNS / "report.html"
    write_labelled(data, documents)
    began = time.perf_counter()
    report(
        ReportConfig(model=parsed.model, data=str(data), output=str(page), training=parsed.training)
    )
    made = time.perf_counter() - began
    decided = TextClassifier.from_pretrained(parsed.model).predict(documents.texts)
    told = json.loads(page.with_suffix(".json").read_text("utf-8"))
    loads = {name: opened(page, name, width) for name, width in WIDTHS.items()}
    far = differences(told, documents.labels, decided)
    result = {
        "documents": len(documents.texts),
        "seconds_to_make": round(made, 1),
        "page_kb": round(page.stat().st_size / 1000, 1),
        "opened": loads,
        "largest_difference_from_scikit_learn": far,
    }
    print(json.dumps(result, indent=2))
    write_result("report-page", result)
    if any(each["console"] for each in loads.values()) or max(far.values()) > TOLERANCE:
        raise SystemExit("the console is not empty, or a number differs from scikit-learn's")


if __name__ == "__main__":
    main()
