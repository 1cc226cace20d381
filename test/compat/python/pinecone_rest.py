"""Calls every operation of Pinecone's REST client; prints what it answered, and the errors that it raised, as JSON."""

import json
import sys

from pinecone import Pinecone, RetryConfig, ServerlessSpec
from pinecone.errors import exceptions

url, refused_url = sys.argv[1:3]
retries = RetryConfig(max_retries=2, backoff_factor=0.01, max_wait=0.05)
client = Pinecone(api_key="any", host=f"{url}/pinecone", retry_config=retries)
SPEC = ServerlessSpec(cloud="aws", region="us-east-1")


def error_of(call):
    try:
        call()
    except exceptions.PineconeError as error:
        return [type(error).__name__, str(error)]
    return None


def described(index):
    return {
        "name": index.name,
        "host": index.host,
        "ready": index.status.ready,
        "tags": dict(index.tags or {}),
        "deletion_protection": index.deletion_protection,
    }


out = {}
created = client.indexes.create(
    name="py", dimension=3, metric="dotproduct", spec=SPEC, tags={"a": "b", "c": "d"}
)
out["created"] = described(created)
out["dimension"] = created.schema.fields["_values"].dimension
out["metric"] = created.schema.fields["_values"].metric
client.indexes.create(name="py-sparse", vector_type="sparse", metric="dotproduct", spec=SPEC)
out["listed"] = [index.name for index in client.indexes.list()]
out["configured"] = described(
    client.indexes.configure("py", deletion_protection="enabled", tags={"a": "", "e": "f"})
)
out["protected"] = error_of(lambda: client.indexes.delete("py"))
client.indexes.configure("py", deletion_protection="disabled")
out["exists"] = [client.indexes.exists("py"), client.indexes.exists("none")]

index = client.index("py")
out["upserted"] = index.upsert(
    vectors=[
        {"id": "a", "values": [1, 2, 3], "metadata": {"genre": "x", "year": 2020}},
        ("b", [3, 2, 1], {"genre": "y"}),
        {"id": "c", "values": [0, 1, 0], "sparse_values": {"indices": [9, 2], "values": [1, 2]}},
    ],
    namespace="ns",
).upserted_count
found = index.query(vector=[1, 0, 0], top_k=2, namespace="ns", include_values=True, include_metadata=True)
out["query"] = [[m.id, m.score, list(m.values), dict(m.metadata or {})] for m in found.matches]
found = index.query(
    vector=[1, 0, 0], sparse_vector={"indices": [2], "values": [10]}, top_k=1, namespace="ns"
)
out["hybrid"] = [[m.id, m.score] for m in found.matches]
fetched = index.fetch(ids=["a", "nobody"], namespace="ns")
out["fetched"] = {id: list(vector.values) for id, vector in fetched.vectors.items()}
index.update(id="a", set_metadata={"seen": True}, namespace="ns")
out["matched"] = index.update(
    filter={"genre": {"$in": ["x", "y"]}}, set_metadata={"m": 1}, dry_run=True, namespace="ns"
).matched_records
by_metadata = index.fetch_by_metadata(filter={"seen": True}, namespace="ns", limit=5)
out["by_metadata"] = {id: dict(vector.metadata) for id, vector in by_metadata.vectors.items()}
out["pages"] = [[v.id for v in page.vectors] for page in index.list(namespace="ns", limit=2)]
stats = index.describe_index_stats()
out["stats"] = {
    "dimension": stats.dimension,
    "total": stats.total_vector_count,
    "namespaces": {name: summary.vector_count for name, summary in stats.namespaces.items()},
}
index.create_namespace(name="empty")
out["namespaces"] = [[n.name, n.record_count] for page in index.list_namespaces() for n in page.namespaces]
out["namespace"] = index.describe_namespace(name="ns").record_count
index.delete_namespace(name="empty")
index.delete(ids=["b"], namespace="ns")
index.delete(filter={"seen": True}, namespace="ns")
out["left"] = [v.id for page in index.list(namespace="ns") for v in page.vectors]
index.delete(delete_all=True, namespace="ns")

out["errors"] = {
    "exists": error_of(lambda: client.indexes.create(name="py", dimension=3, spec=SPEC)),
    "unknown": error_of(lambda: client.indexes.describe("none")),
    "dimension": error_of(lambda: index.upsert(vectors=[("a", [1, 2])])),
    "namespace": error_of(lambda: index.delete(ids=["a"], namespace="never")),
    "not offered": error_of(lambda: index.start_import(uri="s3://b/d")),
    "key": error_of(
        lambda: list(Pinecone(api_key="no", host=f"{refused_url}/pinecone").indexes.list())
    ),
}
client.indexes.delete("py")
client.indexes.delete("py-sparse")
out["after"] = [each.name for each in client.indexes.list()]
print(json.dumps(out))
