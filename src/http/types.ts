import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse, IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";

/** A request of either HTTP version. */
export type HttpRequest = IncomingMessage | Http2ServerRequest;
/** A response of either HTTP version. */
export type HttpResponse = ServerResponse | Http2ServerResponse;
/** Answers one request. What it throws is logged and answered with status 500. */
export type HttpHandler = (request: HttpRequest, response: HttpResponse) => void;
/** Answers an HTTP/2 request before its objects are made, which cost as much as a refusal; false: nothing has been done. */
export type TurnAway = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => boolean;
