import {
  createRegistry,
  type DescMethod,
  type DescService,
  fromJson,
  type JsonValue,
  type Message,
} from "@bufbuild/protobuf";
import { type Client, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { file_google_rpc_error_details } from "../../gen/google/rpc/error_details_pb.ts";
import { AdminService } from "../../gen/quiver/v1/admin_service_pb.ts";
import { BucketService } from "../../gen/quiver/v1/bucket_service_pb.ts";
import { IndexService } from "../../gen/quiver/v1/index_service_pb.ts";
import { JobService } from "../../gen/quiver/v1/job_service_pb.ts";
import { NamespaceService } from "../../gen/quiver/v1/namespace_service_pb.ts";
import { TagService } from "../../gen/quiver/v1/tag_service_pb.ts";
import { VectorService } from "../../gen/quiver/v1/vector_service_pb.ts";

/** Node's client refuses answers while it holds more than 10 MB that it has not sent yet. */
const nodeOptions = { maxSessionMemory: 100 };

/** Errors within answers carry details, which JSON names by their types. */
const jsonOptions = { registry: createRegistry(file_google_rpc_error_details) };

/** Every protocol that the server speaks, with the transport that speaks it to a URL. */
export const PROTOCOLS: Readonly<Record<string, (baseUrl: string) => Transport>> = {
  "Connect with JSON": (baseUrl) =>
    createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false, jsonOptions }),
  "Connect with protobuf": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "2", nodeOptions }),
  gRPC: (baseUrl) => createGrpcTransport({ baseUrl, nodeOptions }),
  "gRPC-Web": (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
};

/** A client of every service, in one protocol. */
export interface Clients {
  readonly buckets: Client<typeof BucketService>;
  readonly indexes: Client<typeof IndexService>;
  readonly namespaces: Client<typeof NamespaceService>;
  readonly vectors: Client<typeof VectorService>;
  readonly jobs: Client<typeof JobService>;
  readonly tags: Client<typeof TagService>;
  readonly admin: Client<typeof AdminService>;
}

export function createClients(transport: Transport): Clients {
  return {
    buckets: createClient(BucketService, transport),
    indexes: createClient(IndexService, transport),
    namespaces: createClient(NamespaceService, transport),
    vectors: createClient(VectorService, transport),
    jobs: createClient(JobService, transport),
    tags: createClient(TagService, transport),
    admin: createClient(AdminService, transport),
  };
}

/** Those of quiver.v1. */
export const SERVICES: readonly DescService[] = [
  BucketService,
  IndexService,
  NamespaceService,
  VectorService,
  JobService,
  TagService,
  AdminService,
];

/** A method by its name alone, with its service; no two services share one. */
export function findMethod(name: string): { service: DescService; method: DescMethod } {
  for (const service of SERVICES) {
    const method = service.methods.find((each) => each.name === name);
    if (method) return { service, method };
  }
  throw new Error(`No method ${name}`);
}

/** Calls a unary method with a request in JSON; rejects as the client does. */
export async function callUnary(transport: Transport, name: string, request: JsonValue): Promise<Message> {
  const { service, method } = findMethod(name);
  const client = createClient(service, transport) as unknown as Record<string, (message: Message) => Promise<Message>>;
  const call = client[method.localName];
  if (!call) throw new Error(`No client method ${method.localName}`);
  return call(fromJson(method.input, request));
}
