"""Inject every kind of fault and print a table; exit with status 1 if one was not survived."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.cases import CASES


def main() -> None:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="each kind a few times only")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the kinds whose name holds this")
    given = parser.parse_args()
    failed = False
    print(f"{'fault':<36}{'tried':>6}{'survived':>10}{'seconds':>9}  how", flush=True)
    for name, case, quick, whole in CASES:
        if given.only not in name:
            continue
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            tried, survived, remark = case(Path(folder), quick if given.quick else whole)
        failed |= survived < tried
        print(f"{name:<36}{tried:>6}{survived:>10}{time.monotonic() - start:>9.0f}  {remark}", flush=True)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
