#!/usr/bin/env python3
"""How far runs came by what they wrote down as they went, and whether they found anything: reached REPORT...

A run that is cut off says nothing of what it had found; its report does. Ends with 1 where there is a finding.
"""

import collections
import json
import sys

# The phases that go through the operations one by one, in their order.
PHASES = ["coverage", "fuzzing"]


def events(path):
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            try:
                [(kind, event)] = json.loads(line).items()
            except ValueError:
                # Where it was killed as it wrote.
                return
            yield kind, event


def main(paths):
    selected, cases = 0, 0
    reached = collections.defaultdict(set)
    findings = collections.Counter()
    for path in paths:
        for kind, event in events(path):
            if kind == "LoadingFinished":
                selected += event["statistic"]["operations"]["selected"]
            elif kind == "ScenarioFinished":
                recorder = event["recorder"]
                cases += len(recorder.get("interactions", {}))
                if recorder.get("interactions"):
                    reached[event["phase"]].add(recorder["label"])
                for checks in recorder.get("checks", {}).values():
                    for check in checks:
                        if check["status"] in ("failure", "error"):
                            failure = check.get("failure_info", {}).get("failure", {})
                            said = failure.get("message", "").partition("\n")[0]
                            findings[f"{recorder['label']}: {check['name']}: {said}"] += 1
            elif kind == "NonFatalError":
                findings[f"{event['label']}: {event['value']}"] += 1
            elif kind == "FatalError":
                findings[f"the run: {event['exception']}"] += 1
    far = ", ".join(f"{len(reached[phase])} of {selected} by {phase}" for phase in PHASES)
    print(f"operations reached: {far}; {cases} requests, {findings.total()} findings")
    for finding, times in findings.most_common(20):
        print(f"  {times} x {finding}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
