"""moorcheh_onprem.py URL CALLS: the on-prem client, `moorcheh-client` of PyPI."""

import sys

from moorcheh import MoorchehClient

from moorcheh_calls import run

RESOURCES = ["namespaces", "vectors", "documents", "files", "similarity_search", "answer"]


def describe(error):
    return {
        "status": getattr(error, "status_code", None),
        "body": getattr(error, "body", None),
        "isItemLimit": getattr(error, "is_item_limit_exceeded", None),
    }


with MoorchehClient(sys.argv[1]) as client:
    run(client, RESOURCES, describe)
