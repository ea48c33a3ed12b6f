# SPDX-License-Identifier: MIT
"""Say which platforms and precisions the C++ and Python tests exercised, from their JUnit reports.

``--require NAME`` (several times) exits with status 1 when NAME, say ``OpenCL-mixed`` or ``cuda-compile``, ran nothing.
"""

import argparse
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

LABEL = re.compile(r"(?<![A-Za-z])(Reference|CPU|OpenCL|CUDA|HIP)(?:-(single|mixed|double))?\b")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reports", nargs="+", help="JUnit XML files")
    parser.add_argument("--require", action="append", default=[])
    arguments = parser.parse_args()
    ran: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for report in arguments.reports:
        if not Path(report).exists():  # the run that writes it failed before its first test
            print(f"no report {report}")
            continue
        for case in ElementTree.parse(report).iter("testcase"):
            absent = case.find("skipped") is not None or case.get("status") in ("notrun", "disabled")
            counter = skipped if absent else ran
            match = LABEL.search(case.get("name", ""))
            if match:
                counter[match.group(0)] += 1
            elif "test_cuda_compile" in case.get("classname", ""):
                counter["cuda-compile"] += 1
    print("\nExercised (tests run):")
    for label in sorted(ran):
        print(f"  {label:16s} {ran[label]}")
    for label in sorted(set(skipped) - set(ran)):
        print(f"  {label:16s} not present here: {skipped[label]} tests skipped")
    missing = [name for name in arguments.require if name not in ran]
    if missing:
        print(f"required but not exercised: {', '.join(missing)}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
