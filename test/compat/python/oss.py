"""Calls vector buckets with the official client of Alibaba Cloud OSS, unmodified, and prints what each call came to.

argv[1]: {url, via, accessKeyId, secret, host?, retries?, additionalHeaders?, calls: [[operation, arguments], ...]}, where an
operation is named as in the API, or as `pages of ListVectors`, whose argument `limit` is the paginator's.
"""

import json
import re
import socket
import sys

import alibabacloud_oss_v2 as oss
import alibabacloud_oss_v2.vectors as vectors
import requests

ACCOUNT = "1234567890123456"
attempts = 0


def count_attempts():
    send = requests.adapters.HTTPAdapter.send

    def counted(*args, **kwargs):
        global attempts
        attempts += 1
        return send(*args, **kwargs)

    requests.adapters.HTTPAdapter.send = counted


def resolve_names_below_localhost():
    resolve = socket.getaddrinfo

    def resolve_here(host, *args, **kwargs):
        is_below = isinstance(host, str) and host.endswith(".localhost")
        return resolve("127.0.0.1" if is_below else host, *args, **kwargs)

    socket.getaddrinfo = resolve_here


def client_of(setup):
    config = oss.config.load_default()
    config.credentials_provider = oss.credentials.StaticCredentialsProvider(setup["accessKeyId"], setup["secret"])
    config.region = "cn-hangzhou"
    config.account_id = ACCOUNT
    config.endpoint = setup["url"].replace("127.0.0.1", setup.get("host", "localhost"))
    config.retry_max_attempts = setup.get("retries")
    config.retryer = oss.retry.StandardRetryer(backoff_delayer=oss.retry.FixedDelayBackoff(0))
    config.additional_headers = setup.get("additionalHeaders")
    if setup["via"] == "proxy":
        config.proxy_host = {"http": setup["url"]}
    else:
        resolve_names_below_localhost()
    return vectors.Client(config)


def snake(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def plain(value):
    if hasattr(value, "_attribute_map"):
        return {name: plain(getattr(value, name)) for name in value._attribute_map}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def call(client, operation, arguments):
    pages = re.fullmatch(r"pages of (\w+)", operation)
    name = pages.group(1) if pages else operation
    limit = arguments.pop("limit", None)
    if name == "PutBucketLogging":
        target = vectors.models.LoggingEnabled(**arguments.pop("logging_enabled"))
        arguments["bucket_logging_status"] = vectors.models.BucketLoggingStatus(logging_enabled=target)
    request = getattr(vectors.models, name + "Request")(**arguments)
    if pages:
        paginator = getattr(client, snake(name) + "_paginator")(limit=limit)
        return {"pages": [plain(page) for page in paginator.iter_page(request)]}
    result = getattr(client, snake(name))(request)
    value = plain(result) if hasattr(result, "_attribute_map") else {}
    if name == "GetBucketPolicy":
        value = {"body": result.body}
    return {"status": result.status_code, "requestId": result.request_id, "value": value}


def outcome_of(client, operation, arguments):
    global attempts
    attempts = 0
    try:
        return {**call(client, operation, arguments), "attempts": attempts}
    except oss.exceptions.OperationError as error:
        cause = error.unwrap()
        told = {"attempts": attempts, "error": [type(error).__name__, type(cause).__name__]}
        if isinstance(cause, oss.exceptions.ServiceError):
            told.update(status=cause.status_code, code=cause.code, message=cause.message)
            told.update(requestId=cause.request_id, ec=cause.ec)
        else:
            told.update(message=str(cause))
        return told


setup = json.loads(sys.argv[1])
count_attempts()
client = client_of(setup)
print(json.dumps([outcome_of(client, operation, arguments) for operation, arguments in setup["calls"]]))
