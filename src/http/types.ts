import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { HttpRequest, HttpResponse } from "../node-http.ts";

/** Answers one request. What it throws is logged and answered with status 500. */
export type HttpHandler = (request: HttpRequest, response: HttpResponse) => void;
/** Answers an HTTP/2 request before its objects are made, which cost as much as a refusal; false: nothing has been done. */
export type TurnAway = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => boolean;
