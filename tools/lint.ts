/**
 * The project's own lint rules: native calls stay in ffi/, and imports go
 * downward only (testing, helpers, net, lib, ffi).
 */

const LAYERS = ["ffi", "lib", "net", "helpers", "testing"];

/** How far up the layers a file of the checkout is; -1 outside of them. */
function layerOf(path: string): number {
  const root = decodeURIComponent(new URL("../", import.meta.url).pathname);
  if (!path.startsWith(root)) return -1;
  return LAYERS.indexOf(path.slice(root.length).split("/")[0]!);
}

/** What a relative import names, as a path. */
function resolve(source: string, from: string): string {
  return decodeURIComponent(new URL(source, `file://${from}`).pathname);
}

const plugin: Deno.lint.Plugin = {
  name: "kio",
  rules: {
    "native-calls-in-ffi": {
      create(context) {
        const layer = layerOf(context.filename);
        if (layer <= LAYERS.indexOf("ffi")) return {};
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
        const layer = layerOf(context.filename);
        if (layer < 0) return {};
        const check = (source: Deno.lint.StringLiteral | null) => {
          if (source === null) return;
          const target = source.value.startsWith(".")
            ? layerOf(resolve(source.value, context.filename))
            : LAYERS.length;
          if (target <= layer && target >= 0) return;
          context.report({
            node: source,
            message: `${
              LAYERS[layer]
            }/ may import itself and what is below it: ${
              LAYERS.slice(0, layer).join(", ") || "nothing"
            }`,
          });
        };
        return {
          ImportDeclaration: (node) => check(node.source),
          ExportNamedDeclaration: (node) => check(node.source),
          ExportAllDeclaration: (node) => check(node.source),
        };
      },
    },
  },
};

export default plugin;
