import assert from "node:assert/strict";
import { test } from "node:test";
import { VectorService } from "../../../gen/pinecone/vector_service_pb.ts";
import { type CallKind, kindOf } from "../../../src/rpc/admission.ts";
import { METHODS } from "./grpc-client.ts";
import { OPERATIONS } from "./operations.ts";

const KINDS: Readonly<Record<string, CallKind>> = {
  Upsert: "write",
  Delete: "write",
  Fetch: "read",
  FetchByMetadata: "read",
  List: "read",
  Query: "search",
  Update: "write",
  DescribeIndexStats: "read",
  ListNamespaces: "read",
  CreateNamespace: "write",
  DescribeNamespace: "read",
  DeleteNamespace: "write",
};

/** By message, the numbers of its fields in Pinecone's public proto. */
const NUMBERS: Readonly<Record<string, string>> = {
  SparseValues: "indices=1 values=2",
  Vector: "id=1 values=2 metadata=3 sparse_values=4",
  ScoredVector: "id=1 score=2 values=3 metadata=4 sparse_values=5",
  Usage: "read_units=1",
  Pagination: "next=1",
  UpsertRequest: "vectors=1 namespace=2",
  UpsertResponse: "upserted_count=1",
  DeleteRequest: "ids=1 delete_all=2 namespace=3 filter=4",
  DeleteResponse: "",
  FetchRequest: "ids=1 namespace=2",
  FetchResponse: "vectors=1 namespace=2 usage=3",
  FetchByMetadataRequest: "namespace=1 filter=2 limit=3 pagination_token=4",
  FetchByMetadataResponse: "vectors=1 namespace=2 usage=3 pagination=4",
  ListRequest: "prefix=1 limit=2 pagination_token=3 namespace=4",
  ListItem: "id=1",
  ListResponse: "vectors=1 pagination=2 namespace=3 usage=4",
  QueryRequest:
    "namespace=1 top_k=2 filter=3 include_values=4 include_metadata=5 vector=7 id=8 sparse_vector=9 scan_factor=10 max_candidates=11",
  QueryResponse: "matches=2 namespace=3 usage=4",
  UpdateRequest: "id=1 values=2 set_metadata=3 namespace=4 sparse_values=5 filter=6 dry_run=7",
  UpdateResponse: "matched_records=1",
  DescribeIndexStatsRequest: "filter=1",
  NamespaceSummary: "vector_count=1",
  DescribeIndexStatsResponse:
    "namespaces=1 dimension=2 index_fullness=3 total_vector_count=4 metric=5 vector_type=6 memory_fullness=7 storage_fullness=8",
  ListNamespacesRequest: "pagination_token=1 limit=2 prefix=3",
  ListNamespacesResponse: "namespaces=1 pagination=2 total_count=3",
  CreateNamespaceRequest: "name=1 schema=2",
  DescribeNamespaceRequest: "namespace=1",
  DeleteNamespaceRequest: "namespace=1",
  NamespaceDescription: "name=1 record_count=2 schema=3 indexed_fields=4",
  IndexedFields: "fields=1",
  MetadataSchema: "fields=1",
  MetadataFieldProperties: "filterable=1",
};

test("messages have Pinecone's names and numbers", () => {
  const numbers = VectorService.file.messages.map(({ name, fields }) => [
    name,
    fields.map((field) => `${field.name}=${field.number}`).join(" "),
  ]);
  assert.deepEqual(Object.fromEntries(numbers), NUMBERS);
});

test("searches wait with searches, reads with reads, and writes with writes", () => {
  const kinds = VectorService.methods.map((method) => [method.name, kindOf(method)]);
  assert.deepEqual(Object.fromEntries(kinds), KINDS);
});

test("every method is in the table of operations", () => {
  assert.deepEqual(OPERATIONS.map(({ operation }) => operation).sort(), [...METHODS].sort());
});
