/** A registry like jsr.io, with the package of this checkout in it. */
import { assert, assertEquals } from "@std/assert";
import { ROOT, run } from "./support.ts";

/** The files that `deno publish` would send, as paths in the checkout. */
export async function publishedFiles(): Promise<string[]> {
  const { code, err } = await run(Deno.execPath(), [
    "publish",
    "--dry-run",
    "--allow-dirty",
  ]);
  assertEquals(code, 0, err);
  assert(!err.includes("warning"), err);
  const prefix = `file://${ROOT}`;
  return [...err.matchAll(/(file:\/\/\S+) \(/g)].map(([, url = ""]) =>
    decodeURIComponent(url.slice(prefix.length))
  ).sort();
}

/** Imports by a name of deno.json get its specifier, as in publishing. */
function withSpecifiers(text: string): string {
  const { imports }: { imports: Record<string, string> } = JSON.parse(
    Deno.readTextFileSync(`${ROOT}deno.json`),
  );
  return text.replaceAll(
    / from "(.+)";$/gm,
    (line, name) =>
      imports[name]?.startsWith("npm:") ? ` from "${imports[name]}";` : line,
  );
}

/** The package of the checkout, with other text in some of its files. */
export async function packageOf(
  changes: Record<string, (text: string) => string> = {},
): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const path of await publishedFiles()) {
    const text = withSpecifiers(Deno.readTextFileSync(ROOT + path));
    files.set(path, changes[path]?.(text) ?? text);
  }
  return files;
}

async function sha256(text: string): Promise<string> {
  const bytes = new TextEncoder().encode(text);
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/** The registry's data about a version. */
async function metaOf(files: Map<string, string>): Promise<unknown> {
  const manifest: Record<string, unknown> = {};
  for (const [path, text] of files) {
    manifest[`/${path}`] = {
      size: new TextEncoder().encode(text).length,
      checksum: `sha256-${await sha256(text)}`,
    };
  }
  const { exports } = JSON.parse(files.get("deno.json")!);
  return { manifest, exports };
}

/** Serves `@kio/kio` in these versions; each is what `packageOf()` gave. */
export class Registry implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #versions: ReadonlyMap<string, Map<string, string>>;

  constructor(versions: ReadonlyMap<string, Map<string, string>>) {
    this.#versions = versions;
    this.#server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      (request) => this.#answer(new URL(request.url).pathname),
    );
  }

  /** The value for `JSR_URL`. */
  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}/`;
  }

  async #answer(path: string): Promise<Response> {
    const name = "/@kio/kio/";
    if (!path.startsWith(name)) return new Response(null, { status: 404 });
    const rest = path.slice(name.length);
    if (rest === "meta.json") {
      const versions = Object.fromEntries(
        [...this.#versions.keys()].map((version) => [version, {}]),
      );
      return Response.json({ scope: "kio", name: "kio", versions });
    }
    const version = rest.split(/[/_]/, 1)[0]!;
    const files = this.#versions.get(version);
    if (files === undefined) return new Response(null, { status: 404 });
    if (rest === `${version}_meta.json`) {
      return Response.json(await metaOf(files));
    }
    const text = files.get(rest.slice(version.length + 1));
    if (text === undefined) return new Response(null, { status: 404 });
    const type = rest.endsWith(".ts") ? "text/typescript" : "text/plain";
    return new Response(text, { headers: { "content-type": type } });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}
