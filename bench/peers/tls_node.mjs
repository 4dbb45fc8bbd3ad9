/** HTTPS server on `node:tls`. Usage: tls_node.mjs CERT KEY */
import { readFileSync } from "node:fs";
import { createServer } from "node:tls";
import process from "node:process";
import { answerTo } from "./tls_answers.mjs";

const [cert, key] = process.argv.slice(2).map((path) => readFileSync(path));
const server = createServer({ cert, key }, (client) => {
  client.on("data", (request) => {
    const { answer, isLast } = answerTo(request);
    client.write(answer);
    if (isLast) client.end();
  });
  client.on("error", () => {});
});
server.listen(0, "127.0.0.1", () => {
  console.log(`listening ${server.address().port}`);
});
