import { create, type DescService, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import * as grpc from "@grpc/grpc-js";

/** A service over @grpc/grpc-js, the usual client of gRPC in Node, with messages of protobuf-es; unary methods alone. */
export function createGrpcJsClient<Service extends DescService>(service: Service, url: string): Client<Service> {
  const client = new grpc.Client(new URL(url).host, grpc.credentials.createInsecure());
  const methods = service.methods
    .filter(({ methodKind }) => methodKind === "unary")
    .map(({ name, localName, input, output }) => {
      const path = `/${service.typeName}/${name}`;
      const call = (request: MessageInitShape<typeof input>) =>
        new Promise((resolve, reject) => {
          client.makeUnaryRequest(
            path,
            (message) => Buffer.from(toBinary(input, message)),
            (bytes) => fromBinary(output, bytes),
            create(input, request),
            (error, answer) => (error ? reject(error) : resolve(answer)),
          );
        });
      return [localName, call];
    });
  return Object.fromEntries(methods);
}
