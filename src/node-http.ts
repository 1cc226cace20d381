import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";

/** A request of Node's, of either HTTP version. */
export type HttpRequest = IncomingMessage | Http2ServerRequest;
/** A response of Node's, of either HTTP version. */
export type HttpResponse = ServerResponse | Http2ServerResponse;
