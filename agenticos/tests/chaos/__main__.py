"""`python -m agenticos.tests.chaos`: exit 0 when nothing was doubled, lost or violated."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from agenticos.tests.chaos.storm import HOST_WEIGHTS, WEIGHTS, Storm
from agenticos.tests.chaos.world import WRONG


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("blows", type=int, nargs="?", default=30)
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same blows")
    parser.add_argument("--hosts", action="store_true", help="web and workers as three hosts")
    parser.add_argument("--only", default="", choices=["", *WEIGHTS, *HOST_WEIGHTS])
    parser.add_argument("--log", type=Path, help="keep what the processes wrote here")
    args = parser.parse_args()
    storm = Storm(blows=args.blows, seed=args.seed, with_hosts=args.hosts, only=args.only)
    try:
        report = storm.go()
    finally:
        if args.log and hasattr(storm, "tail"):
            args.log.write_text(storm.tail)
    wrong = [name for name in WRONG if report[name]]
    sys.stdout.write(json.dumps({**report, "wrong": wrong}, indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
