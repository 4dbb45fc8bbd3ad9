/**
 * A chat over WebSockets, by the npm package `ws` on connections of kio. It has
 * a page for the browser. Ctrl-C says goodbye to all and stops it.
 *
 *     deno task chat [--host 127.0.0.1] [--port 8080] [--max 1000]
 */
// deno-lint-ignore-file no-import-prefix -- the library itself needs none of them
import { IoContext, TcpListener } from "@kio/kio";
import { serveNode } from "@kio/kio/node";
import http from "node:http";
// @ts-types="npm:@types/ws@8.18.2"
import { type WebSocket, WebSocketServer } from "npm:ws@8.23.0";
import { readArguments, wholeNumber } from "./command_line.ts";
import { addressOf, listenOptions } from "./listen_options.ts";

const MESSAGE_SIZE_MAX = 4096;
/** Bytes that may wait for a client that is slow; then it is cut off. */
const WAITING_MAX = 1024 * 1024;
/** WebSocket's code for "going away". */
const GOING_AWAY = 1001;
const GRACE_MS = 2000;

const PAGE = `<!doctype html>
<meta charset="utf-8">
<title>Chat</title>
<ul id="lines"></ul>
<form><input autofocus maxlength="1000" placeholder="Say something"></form>
<script type="module">
  const lines = document.querySelector("#lines");
  const show = (text) => {
    const line = document.createElement("li");
    line.textContent = text;
    lines.append(line);
  };
  const socket = new WebSocket(location.href.replace(/^http/, "ws"));
  socket.onmessage = ({ data }) => show(data);
  socket.onclose = () => show("The server has gone.");
  document.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    const input = event.target.firstChild;
    if (input.value !== "") socket.send(input.value);
    input.value = "";
  };
</script>
`;

const { address, max } = readArguments({
  command: "deno task chat",
  about: "Serves a chat over WebSockets, with a page for the browser.",
  options: {
    ...listenOptions("127.0.0.1"),
    max: { value: "NUMBER", default: "1000", help: "connections at a time" },
  },
}, ({ max, ...listen }) => ({
  address: addressOf(listen),
  max: wholeNumber("--max", max, 1, 100_000),
}));

const bound = TcpListener.bind(address);
if (!bound.ok) {
  console.error(`Cannot listen on ${address}: ${bound.error.message}`);
  Deno.exit(1);
}
const listener = bound.value;
const at = listener.localAddress!;
using ctx = new IoContext();
const server = http.createServer((request, response) => {
  const isPage = request.url === "/";
  response.writeHead(isPage ? 200 : 404, {
    "content-type": isPage ? "text/html; charset=utf-8" : "text/plain",
  });
  response.end(isPage ? PAGE : "There is nothing here.\n");
});
server.maxConnections = max;
const chat = new WebSocketServer({ server, maxPayload: MESSAGE_SIZE_MAX });
let guests = 0;

chat.on("connection", (socket) => {
  const name = `guest ${++guests}`;
  socket.on("message", (text) => tellAll(`${name}: ${text}`));
  socket.on("close", () => tellAll(`${name} has gone.`));
  // What is wrong closes the connection, and "close" tells of it.
  socket.on("error", () => {});
  tellAll(`${name} has come.`);
});

/** Sends a line to all who are there. */
function tellAll(text: string): void {
  for (const client of chat.clients) {
    if (client.bufferedAmount > WAITING_MAX) client.terminate();
    else client.send(text, ignoreError);
  }
}

/** A client that is going gets its "close". */
function ignoreError(): void {}

function stop(): void {
  server.close();
  const clients: WebSocket[] = [...chat.clients];
  for (const client of clients) client.close(GOING_AWAY, "The server stops.");
  const grace = setTimeout(() => {
    for (const client of clients) client.terminate();
    server.closeAllConnections();
  }, GRACE_MS);
  server.once("close", () => clearTimeout(grace));
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, stop);
}
const closed = new Promise<void>((resolve) => server.once("close", resolve));
serveNode(ctx, listener, server);
console.log(`chatting on http://${at}/`);
await closed;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.removeSignalListener(signal, stop);
}
