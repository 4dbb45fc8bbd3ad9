/**
 * The project's own lint rules: native calls stay in ffi/, imports go downward
 * only, and documentation begins with what somebody does.
 */

/**
 * Folders and files, from the bottom up; of several that a path begins with the
 * longest counts. A file may import from its own layer and from those below.
 * Within lib/ it may name types of those above as well: a context, or a pool.
 */
const LAYERS: readonly (readonly string[])[] = [
  ["ffi/"],
  [
    "lib/DirectFd.ts",
    "lib/UringOp.ts",
    "lib/check.ts",
    "lib/constants.ts",
    "lib/errno.ts",
    "lib/internal.ts",
    "lib/ip_text.ts",
    "lib/ops/layout.ts",
    "lib/ring/offered.ts",
    "lib/result.ts",
    "lib/worker_threads.ts",
  ],
  ["lib/ring/"],
  ["lib/ops/table.ts", "lib/ops/rows.ts"],
  ["lib/"],
  ["lib/io.ts", "lib/ops/"],
  ["lib/threads/"],
  ["net/"],
  ["helpers/"],
  ["node/"],
  ["testing/"],
];

/** Modules above all layers. */
const TOP = ["mod.ts", "imports.ts", "doctor.ts", "otel.ts"];

/** Gives the path of a file inside the checkout; empty for another file. */
function pathOf(file: string): string {
  const root = decodeURIComponent(new URL("../", import.meta.url).pathname);
  return file.startsWith(root) ? file.slice(root.length) : "";
}

/** Gives the layer of a path inside the checkout; -1 if it has none. */
function layerOf(path: string): number {
  let layer = -1;
  let length = 0;
  for (const [at, prefixes] of LAYERS.entries()) {
    for (const prefix of prefixes) {
      if (!path.startsWith(prefix) || prefix.length <= length) continue;
      layer = at;
      length = prefix.length;
    }
  }
  return layer;
}

/** Gives the path inside the checkout that a relative import names. */
function resolve(source: string, from: string): string {
  return pathOf(
    decodeURIComponent(new URL(source, `file://${from}`).pathname),
  );
}

type Import =
  | Deno.lint.ImportDeclaration
  | Deno.lint.ExportNamedDeclaration
  | Deno.lint.ExportAllDeclaration;

/** Tells if an import is of types only. */
function isOfTypes(node: Import): boolean {
  if (node.type === "ImportDeclaration") {
    return node.importKind === "type" ||
      node.specifiers.length > 0 &&
        node.specifiers.every((it) =>
          it.type === "ImportSpecifier" && it.importKind === "type"
        );
  }
  return node.exportKind === "type";
}

const plugin: Deno.lint.Plugin = {
  name: "kio",
  rules: {
    "native-calls-in-ffi": {
      create(context) {
        const layer = layerOf(pathOf(context.filename));
        if (layer <= 0) return {};
        return {
          'MemberExpression[object.name="Deno"]'(node) {
            if (node.property.type !== "Identifier") return;
            if (/^(dlopen|Unsafe.*)$/.test(node.property.name)) {
              context.report({
                node,
                message: `Deno.${node.property.name} belongs into ffi/`,
              });
            }
          },
        };
      },
    },
    "imports-go-downward": {
      create(context) {
        const path = pathOf(context.filename);
        const layer = layerOf(path);
        if (layer < 0) return {};
        const check = (node: Import) => {
          const { source } = node;
          if (source === null) return;
          const target = source.value.startsWith(".")
            ? resolve(source.value, context.filename)
            : source.value;
          if (target.startsWith("node:") && path.startsWith("node/")) return;
          const its = layerOf(target);
          if (its >= 0 && its <= layer) return;
          const isInLib = path.startsWith("lib/") && target.startsWith("lib/");
          if (isInLib && isOfTypes(node)) return;
          context.report({
            node: source,
            message: `${path} may import its own layer and those below: ${
              LAYERS.slice(0, layer + 1).flat().join(", ")
            }`,
          });
        };
        return {
          ImportDeclaration: check,
          ExportNamedDeclaration: check,
          ExportAllDeclaration: check,
        };
      },
    },
    "documentation-says-who-does-it": {
      create(context) {
        const path = pathOf(context.filename);
        if (layerOf(path) < 0 && !TOP.includes(path)) return {};
        return {
          Program() {
            for (const comment of context.sourceCode.getAllComments()) {
              const word = /^\*[\s*]*(What|Whether)\b/.exec(comment.value)?.[1];
              if (comment.type !== "Block" || word === undefined) continue;
              context.report({
                range: comment.range,
                message:
                  `Documentation begins with a verb and its object, or with a noun, not with "${word}"`,
              });
            }
          },
        };
      },
    },
  },
};

export default plugin;
