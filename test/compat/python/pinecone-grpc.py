"""Calls a server with Pinecone's Python client over gRPC, 8 or 10; prints what it got as JSON."""

import json
import sys

import pinecone

settings = json.loads(sys.argv[1])
IS_OLD = int(pinecone.__version__.split(".")[0]) < 9


def open_index(name="", host=settings["host"], api_key=settings.get("apiKey", "key"), proxy=None):
    options = {"api_key": api_key, "proxy_url": proxy or settings.get("proxy")}
    ca = settings.get("ca")
    if IS_OLD:
        from pinecone.grpc import GRPCClientConfig, PineconeGRPC

        client = PineconeGRPC(ssl_ca_certs=ca, **options)
        return client.Index(name=name, host=host, grpc_config=GRPCClientConfig(secure=ca is not None))
    # By default it tries six times, and waits for up to a minute before each.
    retries = pinecone.RetryConfig(max_retries=2, max_wait=0.1)
    options["host"] = settings.get("controlPlane")
    client = pinecone.Pinecone(grpc_scheme="http" if ca is None else "https", retry_config=retries, **options)
    return client.index(name=name, host=host, grpc=True)


def vector(v):
    sparse = v.sparse_values
    return {
        "id": v.id,
        "values": list(v.values),
        "metadata": dict(v.metadata or {}),
        "sparse": {} if sparse is None else dict(zip(map(str, sparse.indices), sparse.values)),
    }


def vectors(answer):
    return {key: vector(v) for key, v in sorted(answer.vectors.items())}


def matches(answer):
    return [{**vector(match), "score": match.score} for match in answer.matches]


def ids(page):
    return [getattr(item, "id", item) for item in getattr(page, "vectors", page)]


def namespace(answer):
    return {"name": answer.name, "count": answer.record_count}


def namespaces(index):
    return [each.name for each in index.list_namespaces_paginated().namespaces]


def named(name):
    return {"namespace" if IS_OLD else "name": name}


def every_method(index):
    ns = "ns"
    a = {"id": "a", "values": [1.0, 0.0], "metadata": {"s": "x", "n": 1.5, "b": True, "l": ["p", "q"]}}
    b = {"id": "b", "values": [0.5, 2.0], "sparse_values": {"indices": [3, 7], "values": [0.25, 0.5]}, "metadata": {"s": "y"}}
    c = ("c", [3.0, 3.0])
    did = {}
    did["upsert"] = index.upsert(vectors=[a, b], namespace=ns, show_progress=False).upserted_count
    index.upsert(vectors=[c], namespace=ns)
    index.upsert(vectors=[a])
    many = [(f"m{i}", [float(i), 1.0]) for i in range(25)]
    did["upsert in batches"] = index.upsert(
        vectors=many, namespace="many", batch_size=10, show_progress=False
    ).upserted_count
    did["fetch"] = vectors(index.fetch(ids=["b", "nobody"], namespace=ns))
    did["fetch_by_metadata"] = vectors(index.fetch_by_metadata(filter={"s": {"$in": ["x", "z"]}}, namespace=ns))
    did["query"] = matches(
        index.query(vector=[1.0, 0.0], top_k=2, namespace=ns, include_values=True, include_metadata=True)
    )
    did["query by id"] = [m["id"] for m in matches(index.query(id="c", top_k=1, namespace=ns))]
    hybrid = {"indices": [3], "values": [100.0]}
    did["query sparse"] = [
        m["id"] for m in matches(index.query(vector=[1.0, 0.0], sparse_vector=hybrid, top_k=1, namespace=ns))
    ]
    did["query with a filter"] = [
        m["id"] for m in matches(index.query(vector=[1.0, 0.0], top_k=3, namespace=ns, filter={"s": {"$eq": "y"}}))
    ]
    did["list"] = [id for page in index.list(namespace="many", prefix="m1", limit=4) for id in ids(page)]
    did["list_paginated"] = ids(index.list_paginated(namespace=ns, limit=2))
    index.update(id="a", values=[5.0, 6.0], set_metadata={"n": 2}, namespace=ns)
    did["update"] = vectors(index.fetch(ids=["a"], namespace=ns))
    stats = index.describe_index_stats()
    did["describe_index_stats"] = {
        "dimension": stats.dimension,
        "total": stats.total_vector_count,
        "namespaces": {name: summary.vector_count for name, summary in sorted(stats.namespaces.items())},
    }
    index.delete(ids=["a"], namespace=ns)
    index.delete(filter={"s": "y"}, namespace=ns)
    did["delete"] = ids(index.list_paginated(namespace=ns))
    index.delete(delete_all=True, namespace="many")
    did["create_namespace"] = namespace(index.create_namespace(name="made"))
    did["describe_namespace"] = namespace(index.describe_namespace(**named(ns)))
    did["list_namespaces"] = namespaces(index)
    index.delete_namespace(**named("made"))
    did["delete_namespace"] = namespaces(index)
    return did


def outcome(call):
    try:
        call()
        return None
    except Exception as error:  # What is raised is what is asked for.
        return {"class": type(error).__name__, "message": str(error)}


def errors(index):
    write = lambda values: lambda: index.upsert(vectors=[("x", values)])  # noqa: E731
    return {
        "dimension": outcome(write([1.0, 2.0, 3.0])),
        "nan": outcome(write([float("nan"), 1.0])),
        "infinity in a query": outcome(lambda: index.query(vector=[float("inf"), 1.0], top_k=1)),
        "no namespace": outcome(lambda: index.describe_namespace(**named("nope"))),
        "namespace exists": outcome(lambda: [index.create_namespace(name="twice") for _ in range(2)]),
        "no index": outcome(lambda: open_index(host=settings["hostOfNone"]).describe_index_stats()),
        "wrong key": outcome(lambda: open_index(api_key="wrong").describe_index_stats()),
        "read-only key": outcome(
            lambda: open_index(api_key=settings["readOnlyKey"]).upsert(vectors=[("x", [1.0, 2.0])])
        ),
    }


TASKS = {
    "every method": lambda: every_method(open_index(name=settings.get("name", ""))),
    "errors": lambda: errors(open_index()),
    "dimensions": lambda: {
        place: open_index(**where).describe_index_stats().dimension for place, where in settings["places"].items()
    },
    "upsert": lambda: outcome(lambda: open_index().upsert(vectors=[("x", [1.0, 2.0])])),
}

print(json.dumps(TASKS[settings["task"]]()))
