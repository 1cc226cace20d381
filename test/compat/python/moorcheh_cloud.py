"""moorcheh_cloud.py URL CALLS [API_KEY]: the cloud's client, `moorcheh-sdk` of PyPI."""

import sys

from moorcheh_sdk import MoorchehClient

from moorcheh_calls import run

RESOURCES = ["namespaces", "vectors", "documents", "similarity_search", "answer"]


def describe(error):
    return {"status": getattr(error, "status_code", None)}


with MoorchehClient(api_key=(sys.argv[3:] or ["none"])[0], base_url=sys.argv[1]) as client:
    run(client, RESOURCES, describe)
