"""Calls every operation of S3 Vectors with boto3, unmodified, and prints what came back as JSON.

Arguments: the server's URL. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY sign.
"""

import json
import sys

import boto3
from botocore.config import Config

endpoint = sys.argv[1]


def client_of(**options):
    retries = options.pop("retries", {"mode": "standard", "total_max_attempts": 1})
    client = boto3.client(
        "s3vectors", endpoint_url=endpoint, region_name="us-east-1", config=Config(retries=retries), **options
    )
    client.meta.events.register("before-call.s3vectors", lambda model, **_: called.append(model.name))
    return client


called = []
client = client_of()


def failure(kind, operation, **request):
    """What the client raises; None when it raises nothing, or another exception."""
    try:
        getattr(client, operation)(**request)
    except getattr(client.exceptions, kind) as error:
        response = error.response
        return {
            "kind": type(error).__name__,
            "status": response["ResponseMetadata"]["HTTPStatusCode"],
            "message": response["Error"]["Message"],
            "fields": [field["path"] for field in response.get("fieldList", [])],
        }
    return None


def shown(answer):
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


bucket = {"vectorBucketName": "boto-bucket"}
index = {**bucket, "indexName": "boto-index"}
results = {}

results["created"] = shown(client.create_vector_bucket(**bucket, tags={"env": "dev"}))
bucket_arn = results["created"]["vectorBucketArn"]
got = client.get_vector_bucket(vectorBucketArn=bucket_arn)
results["requestId"] = got["ResponseMetadata"]["RequestId"]
results["bucketCreated"] = got["vectorBucket"].pop("creationTime").timestamp()
results["bucket"] = got["vectorBucket"]
results["buckets"] = [each["vectorBucketName"] for each in client.list_vector_buckets()["vectorBuckets"]]
policy = json.dumps({"Version": "2012-10-17", "Statement": []})
client.put_vector_bucket_policy(**bucket, policy=policy)
results["policyKept"] = client.get_vector_bucket_policy(**bucket)["policy"] == policy
client.delete_vector_bucket_policy(**bucket)

results["index"] = shown(
    client.create_index(
        **index,
        dataType="float32",
        dimension=3,
        distanceMetric="cosine",
        metadataConfiguration={"nonFilterableMetadataKeys": ["text"]},
        encryptionConfiguration={"sseType": "AES256"},
    )
)
index_arn = results["index"]["indexArn"]
described = client.get_index(indexArn=index_arn)["index"]
described.pop("creationTime")
results["described"] = described
results["indexes"] = [each["indexName"] for each in client.list_indexes(**bucket)["indexes"]]

vectors = [
    {"key": f"k{i:03}", "data": {"float32": [1.0, i / 128, 0.0]}, "metadata": {"i": i, "text": "ü", "tags": ["a"]}}
    for i in range(150)
]
client.put_vectors(**index, vectors=vectors)

# The index has been given more vectors than it takes in some seconds.
results["throttled"] = []
for attempts in (1, 3):
    each = client_of(retries={"mode": "standard", "total_max_attempts": attempts})
    try:
        each.put_vectors(**index, vectors=vectors)
    except each.exceptions.TooManyRequestsException as error:
        metadata = error.response["ResponseMetadata"]
        results["throttled"].append([metadata["HTTPStatusCode"], metadata["RetryAttempts"]])

results["got"] = client.get_vectors(**index, keys=["k001", "absent"], returnData=True, returnMetadata=True)["vectors"]
pages = client.get_paginator("list_vectors").paginate(**index, PaginationConfig={"PageSize": 40})
results["listed"] = [[vector["key"] for vector in page["vectors"]] for page in pages]
query = {"topK": 150, "queryVector": {"float32": [1.0, 0.0, 0.0]}, "returnDistance": True}
pages = list(client.get_paginator("query_vectors").paginate(**index, **query))
results["queried"] = [[vector["key"] for vector in page["vectors"]] for page in pages]
results["metric"] = pages[0]["distanceMetric"]
results["nearest"] = pages[0]["vectors"][0]["distance"]
filtered = client.query_vectors(**index, **{**query, "topK": 3}, filter={"i": {"$gte": 140}}, returnMetadata=True)
results["filtered"] = [[vector["key"], vector["metadata"]["i"]] for vector in filtered["vectors"]]

client.tag_resource(resourceArn=index_arn, tags={"a b": "c/d", "more": ""})
results["tags"] = client.list_tags_for_resource(resourceArn=index_arn)["tags"]
client.untag_resource(resourceArn=index_arn, tagKeys=["a b", "absent"])
results["tagsLeft"] = client.list_tags_for_resource(resourceArn=index_arn)["tags"]

absent = {**bucket, "indexName": "absent"}
one = {"key": "k", "data": {"float32": [1.0, 2.0]}}
results["failures"] = [
    failure("NotFoundException", "get_index", **absent),
    failure("ConflictException", "create_vector_bucket", **bucket),
    failure("ConflictException", "delete_vector_bucket", **bucket),
    failure("ValidationException", "put_vectors", **index, vectors=[one]),
    failure("ValidationException", "delete_vectors", **index, keys=["a", "a"]),
    failure("ValidationException", "put_vectors", **index, vectors=[{"key": "k", "data": {"float32": [float("nan")] * 3}}]),
    failure("ServiceQuotaExceededException", "create_index", **absent, dataType="float32", dimension=1, distanceMetric="cosine"),
]

not_offered = {
    "update_index_mode": {**index, "indexMode": "ENHANCED"},
    "update_metadata_configuration": index,
    "put_vector_bucket_default_index_mode": {**bucket, "defaultIndexMode": "CLASSIC"},
}
results["notOffered"] = {}
for operation, request in not_offered.items():
    try:
        getattr(client, operation)(**request)
    except client.exceptions.ClientError as error:
        results["notOffered"][client.meta.method_to_api_mapping[operation]] = [
            error.response["Error"]["Code"],
            error.response["ResponseMetadata"]["HTTPStatusCode"],
        ]

wrong = client_of(aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="wrong")
try:
    wrong.list_vector_buckets()
    results["denied"] = None
except wrong.exceptions.AccessDeniedException as error:
    results["denied"] = error.response["ResponseMetadata"]["HTTPStatusCode"]

client_of(retries={"mode": "standard", "total_max_attempts": 10}).delete_vectors(**index, keys=["k000", "absent"])
client.delete_index(**index)
client.delete_vector_bucket(**bucket)
results["left"] = client.list_vector_buckets()["vectorBuckets"]
results["called"] = sorted(set(called))
results["operations"] = sorted(client.meta.service_model.operation_names)
print(json.dumps(results))
