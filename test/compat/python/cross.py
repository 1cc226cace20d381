"""Writes, reads or searches an index through a vendor's official client: cross.py <vendor> <url> <index> <command as JSON>.

Prints JSON: of a read {key: {"values", "metadata"}}, of a search [[key, score or distance]], and null of a write.
"""

import json
import sys
import time

vendor, url, index, command = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
task = command["task"]


def s3vectors():
    import boto3

    client = boto3.client(
        "s3vectors", region_name="us-east-1", endpoint_url=url, aws_access_key_id="k", aws_secret_access_key="s"
    )
    place = {"vectorBucketName": "default", "indexName": index}
    if task == "write":
        vectors = [
            {"key": v["key"], "data": {"float32": v["values"]}, "metadata": v["metadata"]} for v in command["vectors"]
        ]
        client.put_vectors(**place, vectors=vectors)
        return None
    if task == "read":
        found = client.get_vectors(**place, keys=command["keys"], returnData=True, returnMetadata=True)
        return {
            v["key"]: {"values": v["data"]["float32"], "metadata": v.get("metadata", {})} for v in found["vectors"]
        }
    found = client.query_vectors(
        **place, topK=command["k"], queryVector={"float32": command["values"]}, returnDistance=True
    )
    return [[v["key"], v["distance"]] for v in found["vectors"]]


def oss():
    import alibabacloud_oss_v2 as sdk
    import alibabacloud_oss_v2.vectors as vectors

    config = sdk.config.load_default()
    config.credentials_provider = sdk.credentials.StaticCredentialsProvider("k", "s")
    config.region = "cn-hangzhou"
    config.account_id = "123"
    config.endpoint = url.replace("127.0.0.1", "localhost")
    # Bucket and account stand in the host's name, which has no address here.
    config.proxy_host = {"http": url}
    client = vectors.Client(config)
    place = {"bucket": "default", "index_name": index}
    if task == "write":
        items = [
            {"key": v["key"], "data": {"float32": v["values"]}, "metadata": v["metadata"]} for v in command["vectors"]
        ]
        client.put_vectors(vectors.models.PutVectorsRequest(**place, vectors=items))
        return None
    if task == "read":
        request = vectors.models.GetVectorsRequest(
            **place, keys=command["keys"], return_data=True, return_metadata=True
        )
        found = client.get_vectors(request)
        return {
            v["key"]: {"values": v["data"]["float32"], "metadata": v.get("metadata", {})} for v in found.vectors
        }
    request = vectors.models.QueryVectorsRequest(
        **place, top_k=command["k"], query_vector={"float32": command["values"]}, return_distance=True
    )
    return [[v["key"], v["distance"]] for v in client.query_vectors(request).vectors]


def moorcheh():
    from moorcheh.client import MoorchehClient

    client = MoorchehClient(url + "/moorcheh")
    if task == "write":
        items = [{"id": v["key"], "vector": v["values"], **v["metadata"]} for v in command["vectors"]]
        job = client.vectors.upload(index, vectors=items)["job_id"]
        while True:
            status = client.vectors.upload_job_status(index, job)
            if status["status"] != "running":
                break
            time.sleep(0.02)
        assert status["failed"] == 0 and status["successful"] == len(items), status
        return None
    if task == "read":
        found = client.documents.get(index, ids=command["keys"])
        return {item["id"]: {"values": None, "metadata": item["metadata"]} for item in found["items"]}
    found = client.similarity_search.query(namespaces=[index], query=command["values"], top_k=command["k"])
    return [[item["id"], item["score"]] for item in found["results"]]


def moorcheh_cloud():
    from moorcheh_sdk import MoorchehClient

    with MoorchehClient(api_key="k", base_url=url + "/moorcheh/v1") as client:
        if task == "write":
            items = [{"id": v["key"], "vector": v["values"], "metadata": v["metadata"]} for v in command["vectors"]]
            client.vectors.upload(index, items)
            return None
        if task == "read":
            return {
                key: {"values": None, "metadata": item["metadata"]}
                for key in command["keys"]
                for values in [command["known"][key]]
                for item in client.similarity_search.query(namespaces=[index], query=values, top_k=1)["results"]
                if item["id"] == key
            }
        found = client.similarity_search.query(namespaces=[index], query=command["values"], top_k=command["k"])
        return [[item["id"], item["score"]] for item in found["results"]]


print(json.dumps({"s3vectors": s3vectors, "oss": oss, "moorcheh": moorcheh, "moorcheh-cloud": moorcheh_cloud}[vendor]()))
