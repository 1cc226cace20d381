import { create, type DescExtension, type DescFile, type DescService, fromBinary, toBinary } from "@bufbuild/protobuf";
import { nestedTypes } from "@bufbuild/protobuf/reflect";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, type HandlerContext } from "@connectrpc/connect";
import { file_google_rpc_error_details } from "../../gen/google/rpc/error_details_pb.ts";
import {
  ServerReflection,
  type ServerReflectionRequest,
  ServerReflectionRequestSchema,
  ServerReflectionResponseSchema,
} from "../../gen/grpc/reflection/v1/reflection_pb.ts";
import {
  ServerReflection as ServerReflectionV1Alpha,
  type ServerReflectionRequest as V1AlphaRequest,
  ServerReflectionRequestSchema as V1AlphaRequestSchema,
  ServerReflectionResponseSchema as V1AlphaResponseSchema,
} from "../../gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { shuttingDown } from "../errors.ts";
import { callKey } from "./call.ts";
import { defineService, type RpcService } from "./define-service.ts";
import { readUntilAborted } from "./until-aborted.ts";

/**
 * Serves grpc.reflection.v1 and v1alpha over the given services and itself, so that grpcurl and `buf curl` need no
 * files.
 */
export function createReflection(services: readonly DescService[]): RpcService[] {
  const listed = [...services, ServerReflection, ServerReflectionV1Alpha];
  const symbols = createSymbols(listed);
  const names = listed.map(({ typeName }) => ({ name: typeName })).sort((a, b) => (a.name < b.name ? -1 : 1));

  async function* answer(requests: AsyncIterable<ServerReflectionRequest>, context: HandlerContext) {
    const { shutdown } = context.values.get(callKey);
    for await (const request of readUntilAborted(requests, shutdown, shuttingDown)) {
      yield create(ServerReflectionResponseSchema, {
        validHost: request.host,
        originalRequest: request,
        messageResponse: respond(request.messageRequest, symbols, names),
      });
    }
  }
  // The two versions are the same on the wire.
  async function* answerV1Alpha(requests: AsyncIterable<V1AlphaRequest>, context: HandlerContext) {
    for await (const response of answer(fromV1Alpha(requests), context)) {
      yield fromBinary(V1AlphaResponseSchema, toBinary(ServerReflectionResponseSchema, response));
    }
  }
  return [
    defineService(ServerReflection, { serverReflectionInfo: answer }),
    defineService(ServerReflectionV1Alpha, { serverReflectionInfo: answerV1Alpha }),
  ];
}

async function* fromV1Alpha(requests: AsyncIterable<V1AlphaRequest>): AsyncGenerator<ServerReflectionRequest> {
  for await (const request of requests) {
    yield fromBinary(ServerReflectionRequestSchema, toBinary(V1AlphaRequestSchema, request));
  }
}

type Question = ServerReflectionRequest["messageRequest"];

function respond(question: Question, symbols: Symbols, names: { name: string }[]) {
  switch (question.case) {
    case "listServices":
      return { case: "listServicesResponse" as const, value: { service: names } };
    case "fileByFilename":
      return filesOrNotFound(symbols.fileByName(question.value), `file "${question.value}"`);
    case "fileContainingSymbol":
      return filesOrNotFound(symbols.fileOf(question.value), `symbol "${question.value}"`);
    case "fileContainingExtension": {
      const { containingType, extensionNumber } = question.value;
      const extension = symbols.extensionsOf(containingType)?.get(extensionNumber);
      return filesOrNotFound(extension?.file, `extension ${extensionNumber} of "${containingType}"`);
    }
    case "allExtensionNumbersOfType": {
      const extensions = symbols.extensionsOf(question.value);
      if (extensions === undefined) return notFound(`message "${question.value}"`);
      const value = { baseTypeName: question.value, extensionNumber: [...extensions.keys()] };
      return { case: "allExtensionNumbersResponse" as const, value };
    }
    default:
      return errorResponse(Code.InvalidArgument, "Reflection request has no question");
  }
}

function errorResponse(errorCode: Code, errorMessage: string) {
  return { case: "errorResponse" as const, value: { errorCode, errorMessage } };
}

function notFound(what: string) {
  return errorResponse(Code.NotFound, `Server has no ${what}`);
}

/** The file that was asked for, first, and all that it imports: clients may not have them. */
function filesOrNotFound(file: DescFile | undefined, what: string) {
  if (file === undefined) return notFound(what);
  const fileDescriptorProto = [...withImports([file])].map(({ proto }) => toBinary(FileDescriptorProtoSchema, proto));
  return { case: "fileDescriptorResponse" as const, value: { fileDescriptorProto } };
}

interface Symbols {
  fileByName(name: string): DescFile | undefined;
  /** By the full name of a service, method, message, field, oneof, enum, enum value or extension. */
  fileOf(symbol: string): DescFile | undefined;
  /** By number; undefined when there is no such message. */
  extensionsOf(message: string): ReadonlyMap<number, DescExtension> | undefined;
}

function createSymbols(services: readonly DescService[]): Symbols {
  const files = new Map<string, DescFile>();
  const symbols = new Map<string, DescFile>();
  const extensions = new Map<string, Map<number, DescExtension>>();
  const ofMessage = (name: string) => {
    const known = extensions.get(name) ?? new Map<number, DescExtension>();
    extensions.set(name, known);
    return known;
  };

  // The details of errors travel as Any, so that no service's file imports them; clients ask for them by name.
  for (const file of withImports([...services.map((service) => service.file), file_google_rpc_error_details])) {
    files.set(file.proto.name, file);
    for (const type of nestedTypes(file)) {
      symbols.set(type.typeName, file);
      switch (type.kind) {
        case "service":
          for (const method of type.methods) symbols.set(`${type.typeName}.${method.name}`, file);
          break;
        case "message":
          ofMessage(type.typeName);
          for (const member of [...type.fields, ...type.oneofs]) symbols.set(`${type.typeName}.${member.name}`, file);
          break;
        case "enum": {
          // The values of an enum are named beside it, not in it.
          const scope = type.typeName.slice(0, type.typeName.lastIndexOf(".") + 1);
          for (const value of type.values) symbols.set(`${scope}${value.name}`, file);
          break;
        }
        case "extension":
          ofMessage(type.extendee.typeName).set(type.number, type);
      }
    }
  }
  return {
    fileByName: (name) => files.get(name),
    fileOf: (symbol) => symbols.get(symbol),
    extensionsOf: (message) => extensions.get(message),
  };
}

function withImports(files: readonly DescFile[]): Set<DescFile> {
  const found = new Set(files);
  // A set goes on with what is added while it is walked.
  for (const file of found) for (const dependency of file.dependencies) found.add(dependency);
  return found;
}
