/** The heads of answers. */

const REASONS = {
  200: "OK",
  206: "Partial Content",
  301: "Moved Permanently",
  304: "Not Modified",
  400: "Bad Request",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  412: "Precondition Failed",
  413: "Content Too Large",
  416: "Range Not Satisfiable",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  503: "Service Unavailable",
  505: "HTTP Version Not Supported",
} as const;

export type AnyStatus = keyof typeof REASONS;

/** The fields of a head, beside the status. */
export interface HeadFields {
  type?: string;
  length?: number;
  etag?: string;
  lastModified?: string;
  /** "bytes 0-9/100", for a part of a file. */
  contentRange?: string | undefined;
  /** Where it is instead. */
  location?: string;
  /** The connection is closed after it. */
  close?: boolean;
}

const encoder = new TextEncoder();

/** The head of an answer, to the empty line at its end. */
export function headOf(
  status: AnyStatus,
  { type, length, etag, lastModified, contentRange, location, close }:
    HeadFields,
): Uint8Array<ArrayBuffer> {
  const lines = [
    `HTTP/1.1 ${status} ${REASONS[status]}`,
    `Date: ${new Date().toUTCString()}`,
    "Server: kio",
  ];
  if (type !== undefined) lines.push(`Content-Type: ${type}`);
  if (length !== undefined) lines.push(`Content-Length: ${length}`);
  if (lastModified !== undefined) lines.push(`Last-Modified: ${lastModified}`);
  if (etag !== undefined) lines.push(`ETag: ${etag}`, "Accept-Ranges: bytes");
  if (contentRange !== undefined) lines.push(`Content-Range: ${contentRange}`);
  if (location !== undefined) lines.push(`Location: ${location}`);
  if (status === 405) lines.push("Allow: GET, HEAD");
  if (close) lines.push("Connection: close");
  return encoder.encode(`${lines.join("\r\n")}\r\n\r\n`);
}

/** An answer that says no more than its status. */
export function plainAnswer(
  status: AnyStatus,
  withBody: boolean,
  fields: HeadFields = {},
): Uint8Array<ArrayBuffer> {
  const body = encoder.encode(`${status} ${REASONS[status]}\n`);
  const head = headOf(status, {
    type: "text/plain; charset=utf-8",
    length: body.length,
    ...fields,
  });
  return withBody ? joined(head, body) : head;
}

/** Two buffers as one, for one send. */
export function joined(
  head: Uint8Array,
  body: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(head.length + body.length);
  both.set(head);
  both.set(body, head.length);
  return both;
}
