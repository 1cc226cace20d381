"""Makes the calls of a list, in order, with an official client of Moorcheh, and tells what came of each."""

import json
import sys
import time


def public_methods(client, resources):
    """Every operation that the client offers."""
    found = []
    for resource in resources:
        part = getattr(client, resource)
        names = [name for name in dir(type(part)) if not name.startswith("_")]
        found += [f"{resource}.{name}" for name in names if callable(getattr(part, name))]
    return sorted(found)


def call(client, path, kwargs):
    target = client
    for name in path.split("."):
        target = getattr(target, name)
    return target(**kwargs)


def filled(value, results):
    """Puts in what an earlier call answered: "$upload.job_id"."""
    if isinstance(value, str) and value.startswith("$"):
        label, member = value[1:].split(".")
        return results[label]["answer"][member]
    if isinstance(value, dict):
        return {key: filled(each, results) for key, each in value.items()}
    return value


def run(client, resources, describe):
    calls = json.loads(sys.argv[2])
    results = {}
    waits = []
    # What is between two attempts is told, not waited for.
    really_sleep, time.sleep = time.sleep, lambda seconds: waits.append(seconds) or really_sleep(0.001)
    for each in calls:
        del waits[:]
        label = each["label"]
        try:
            kwargs = filled(each.get("kwargs", {}), results)
            answer = call(client, each["call"], kwargs)
            while each.get("until") and answer["status"] not in each["until"]:
                really_sleep(0.01)
                answer = call(client, each["call"], kwargs)
            results[label] = {"answer": answer}
        except Exception as error:
            results[label] = {"error": type(error).__name__, "message": str(error), **describe(error)}
        results[label]["waits"] = list(waits)
    print(json.dumps({"methods": public_methods(client, resources), "results": results}))
